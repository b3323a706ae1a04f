package main

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/imdlua/imdlua/runtime/bonjour"
)

type browseFlags struct {
	interfaces []string
	json       bool
}

func (c *cli) browseCommand() *cobra.Command {
	f := &browseFlags{}
	cmd := &cobra.Command{
		Use:   "browse mobdev2|rsd|remotepairing|manual-pairing",
		Short: "List what devices advertise on the network (Bonjour)",
		Long: `Listens for three seconds, or as long as --timeout says, on every interface,
the loopback interface as well:
  mobdev2         lockdown over Wi-Fi
  rsd             services for hosts that are not paired, on the cable's network interface
  remotepairing   tunnels over Wi-Fi
  manual-pairing  devices that show a PIN`,
		Example: "  imdlua browse mobdev2\n  imdlua browse rsd --interface enp0s20u2 --json",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError("browse needs one of mobdev2, rsd, remotepairing, manual-pairing")
			}
			return nil
		},
		ValidArgs: []string{"mobdev2", "rsd", "remotepairing", "manual-pairing"},
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.browse(cmd.Context(), f, args[0])
		},
	}
	cmd.Flags().StringArrayVarP(&f.interfaces, "interface", "i", nil,
		"`name` of an interface, repeatable; all by default")
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
	return cmd
}

type instanceJSON struct {
	Name      string            `json:"name"`
	Type      string            `json:"type"`
	Host      string            `json:"host"`
	Port      uint16            `json:"port"`
	Addresses []netip.Addr      `json:"addresses"`
	Interface string            `json:"interface"`
	TXT       map[string]string `json:"txt"`
}

func (c *cli) browse(ctx context.Context, f *browseFlags, what string) error {
	t, err := bonjour.ParseType(what)
	if err != nil {
		return usageError(
			"browse needs one of mobdev2, rsd, remotepairing, manual-pairing, not %q",
			what,
		)
	}
	finder, err := c.finder()
	if err != nil {
		return err
	}
	list, err := finder.Browse(ctx, bonjour.Query{
		Type: t, Timeout: max(time.Duration(c.flags.timeout), 0), Interfaces: f.interfaces,
	})
	if err != nil {
		return err
	}
	if f.json {
		out := []instanceJSON{}
		for _, i := range list {
			if i.TXT == nil {
				i.TXT = map[string]string{}
			}
			out = append(out, instanceJSON{
				i.Name, string(i.Type), i.Host, i.Port, i.Addresses, i.Interface, i.TXT,
			})
		}
		return printJSON(c.stdout, out)
	}
	if len(list) == 0 {
		c.notice("nothing advertises %s here", t)
		return nil
	}
	w := tabwriter.NewWriter(c.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tINTERFACE\tPORT\tADDRESSES\tTXT")
	for _, i := range list {
		var addresses, txt []string
		for _, a := range i.Addresses {
			addresses = append(addresses, a.String())
		}
		for _, k := range slices.Sorted(maps.Keys(i.TXT)) {
			txt = append(txt, c.cell(k+"="+i.TXT[k]))
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\n", c.cell(i.Name), i.Interface, i.Port,
			strings.Join(addresses, " "), strings.Join(txt, " "))
	}
	return w.Flush()
}
