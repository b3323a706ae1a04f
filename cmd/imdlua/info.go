package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
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
		Short: "Print what a device says about itself",
		Example: `  imdlua info --key ProductVersion
  imdlua info --domain com.apple.mobile.battery --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.info(cmd.Context(), f) },
	}
	cmd.Flags().StringVarP(&f.domain, "domain", "q", "", "`domain` of the values, such as com.apple.mobile.battery")
	cmd.Flags().StringVarP(&f.key, "key", "k", "", "print this `key` alone")
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
	cmd.Flags().BoolVarP(&f.xml, "xml", "x", false, "print an XML property list")
	cmd.Flags().BoolVarP(&f.public, "public", "s", false, "only what the device tells everybody: no pairing, no session")
	return cmd
}

func (c *cli) info(ctx context.Context, f *infoFlags) error {
	if f.json && f.xml {
		return usageError("--json and --xml exclude each other")
	}
	if f.public && f.domain != "" {
		return usageError("--public knows no domains")
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
	var b strings.Builder
	if dict, ok := asDict(v); ok {
		writeDict(&b, dict, "")
	} else if list, ok := v.([]any); ok {
		writeList(&b, list, "")
	} else {
		b.WriteString(plainValue(v) + "\n")
	}
	_, err = fmt.Fprint(c.stdout, b.String())
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
			return nil, fmt.Errorf("the device does not tell everybody its %s; try without --public", f.key)
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

// jsonValue turns a property list value into what JSON can carry: data becomes
// base64, dates RFC 3339.
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
	}
	return v
}

// plainValue writes a value that holds no others on one line.
func plainValue(v any) string {
	switch v := jsonValue(v).(type) {
	case string:
		return v
	default:
		return fmt.Sprint(v)
	}
}

func writeDict(b *strings.Builder, d map[string]any, indent string) {
	for _, k := range slices.Sorted(maps.Keys(d)) {
		writeEntry(b, indent+k+":", d[k], indent)
	}
}

func writeList(b *strings.Builder, list []any, indent string) {
	for _, v := range list {
		writeEntry(b, indent+"-", v, indent)
	}
}

func writeEntry(b *strings.Builder, label string, v any, indent string) {
	b.WriteString(label)
	if d, ok := asDict(v); ok {
		b.WriteByte('\n')
		writeDict(b, d, indent+"  ")
		return
	}
	if list, ok := v.([]any); ok {
		b.WriteByte('\n')
		writeList(b, list, indent+"  ")
		return
	}
	b.WriteString(" " + plainValue(v) + "\n")
}
