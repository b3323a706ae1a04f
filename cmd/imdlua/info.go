package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/device"
)

type infoFlags struct {
	domain, key       string
	json, xml, public bool
}

func (c *cli) infoCommand() *cobra.Command {
	f := &infoFlags{}
	cmd := &cobra.Command{
		Use:   "info",
		Short: "Print the values that a device reports about itself",
		Example: `  imdlua info --key ProductVersion
  imdlua info --domain com.apple.mobile.battery --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.info(cmd.Context(), f) },
	}
	cmd.Flags().StringVarP(&f.domain, "domain", "q", "",
		"`domain` of the values, such as com.apple.mobile.battery")
	cmd.Flags().StringVarP(&f.key, "key", "k", "", "print only this `key`")
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
	cmd.Flags().BoolVarP(&f.xml, "xml", "x", false, "print an XML property list")
	cmd.Flags().BoolVarP(&f.public, "public", "s", false,
		"only the values that need no pairing and no session")
	return cmd
}

func (c *cli) info(ctx context.Context, f *infoFlags) error {
	if f.json && f.xml {
		return usageError("--json and --xml exclude each other")
	}
	if f.public && f.domain != "" {
		return usageError("--public and --domain exclude each other")
	}
	ctx, cancel := c.timed(ctx, 0)
	defer cancel()
	d, err := c.oneDevice(ctx)
	if err != nil {
		return err
	}
	v, err := f.ask(ctx, d)
	if err != nil {
		return err
	}
	switch {
	case f.json:
		return printJSON(c.stdout, jsonValue(v))
	case f.xml:
		b, err := plist.Encode(v, plist.XML)
		if err != nil {
			return err
		}
		_, err = c.stdout.Write(append(b, '\n'))
		return err
	}
	var w infoWriter
	w.cell = c.cell
	if dict, ok := asDict(v); ok {
		w.dict(dict, "")
	} else if list, ok := v.([]any); ok {
		w.list(list, "")
	} else {
		w.WriteString(plainValue(v) + "\n")
	}
	_, err = fmt.Fprint(c.stdout, w.String())
	return err
}

func (f *infoFlags) ask(ctx context.Context, d *device.Device) (any, error) {
	switch {
	case f.public:
		all, err := d.Public(ctx)
		if err != nil || f.key == "" {
			return all, err
		}
		v, ok := all[f.key]
		if !ok {
			return nil, fmt.Errorf(
				"the device does not report %s without pairing; try without --public", f.key,
			)
		}
		return v, nil
	case f.key != "":
		return d.Get(ctx, f.domain, f.key)
	}
	return d.Domain(ctx, f.domain)
}

func asDict(v any) (map[string]any, bool) {
	switch v := v.(type) {
	case plist.Dict:
		return v, true
	case map[string]any:
		return v, true
	}
	return nil, false
}

// jsonValue converts a property list value to a value that JSON can represent. Data becomes base64,
// dates become RFC 3339, and NaN and the infinities become their names.
func jsonValue(v any) any {
	if d, ok := asDict(v); ok {
		out := make(map[string]any, len(d))
		for k, e := range d {
			out[k] = jsonValue(e)
		}
		return out
	}
	switch v := v.(type) {
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = jsonValue(e)
		}
		return out
	case []byte:
		return base64.StdEncoding.EncodeToString(v)
	case time.Time:
		return v.UTC().Format(time.RFC3339)
	case plist.UID:
		return map[string]uint64{"CF$UID": uint64(v)}
	case float64, float32:
		if text := plainValue(v); !strings.ContainsAny(text, "0123456789") {
			return text // NaN and the infinities
		}
	}
	return v
}

// plainValue returns the text of a value that is neither a dictionary nor a list.
func plainValue(v any) string {
	switch v := v.(type) {
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case float32:
		return strconv.FormatFloat(float64(v), 'f', -1, 32)
	case plist.UID:
		return fmt.Sprintf("CF$UID %d", uint64(v))
	}
	if s, ok := jsonValue(v).(string); ok {
		return s
	}
	return fmt.Sprint(v)
}

// infoWriter writes dictionaries and lists for people, one value a line.
type infoWriter struct {
	strings.Builder
	cell func(string) string
}

func (w *infoWriter) dict(d map[string]any, indent string) {
	for _, k := range slices.Sorted(maps.Keys(d)) {
		w.entry(indent+w.cell(k)+":", d[k], indent)
	}
}

func (w *infoWriter) list(list []any, indent string) {
	for _, v := range list {
		w.entry(indent+"-", v, indent)
	}
}

func (w *infoWriter) entry(label string, v any, indent string) {
	w.WriteString(label)
	if d, ok := asDict(v); ok {
		w.WriteByte('\n')
		w.dict(d, indent+"  ")
		return
	}
	if list, ok := v.([]any); ok {
		w.WriteByte('\n')
		w.list(list, indent+"  ")
		return
	}
	w.WriteString(" " + w.cell(plainValue(v)) + "\n")
}
