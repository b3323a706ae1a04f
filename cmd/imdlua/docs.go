package main

import (
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
)

func (c *cli) typesCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "types",
		Short:   "Print type declarations of the script API for editors",
		Long:    "Prints the script API as LuaCATS declarations, which lua-language-server reads.",
		Example: "  mkdir -p .imdlua && imdlua types > .imdlua/imd.d.lua",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			ix, done, err := c.declarations()
			if err != nil {
				return err
			}
			defer done()
			_, err = io.WriteString(c.stdout, ix.Stubs())
			return err
		},
	}
}

func (c *cli) docsCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "docs [FOLDER]",
		Short:   "Print the reference of the script API, or write a page for each module",
		Example: "  imdlua docs | less\n  imdlua docs reference/",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError("docs takes one folder")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			ix, done, err := c.declarations()
			if err != nil {
				return err
			}
			defer done()
			pages := ix.Reference()
			names := slices.Sorted(maps.Keys(pages))
			if len(args) == 1 {
				return writePages(args[0], pages)
			}
			for i, name := range names {
				if i > 0 {
					io.WriteString(c.stdout, "\n")
				}
				if _, err := io.WriteString(c.stdout,
					strings.TrimRight(pages[name], "\n")+"\n"); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func writePages(folder string, pages map[string]string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for name, page := range pages {
		if err := os.WriteFile(filepath.Join(folder, name+".md"), []byte(page), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// declarations returns the declarations of the script API.
func (c *cli) declarations() (*api.Index, func() error, error) {
	h, err := c.newHost(host.Options{})
	if err != nil {
		return nil, nil, err
	}
	return api.Registry(h), h.Close, nil
}
