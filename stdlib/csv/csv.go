// Package csv is the script module imd.csv: tables of text as spreadsheets read
// them (RFC 4180).
//
//	local out = require("imd.csv").writer("run.csv", { "t", "cpu" })
//	out:row{ time.now(), 12.5 }
package csv

import (
	"unicode/utf8"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/stdlib/fs"
)

// Module declares the module.
func Module() *api.Module {
	return &api.Module{
		Name:    "csv",
		Doc:     "Comma-separated values, as spreadsheets read them.",
		Perm:    "none",
		Classes: []*api.Class{writerClass()},
		Funcs: []*api.Func{
			api.Function("writer", "Makes a file, or empties it, and returns a writer of rows.",
				"path header? opts?", newWriter,
				fs.PathParam("path", "the file", host.AccessWrite),
				api.ParamDoc("header", "names of the columns, written as the first row"),
				api.ParamDoc("opts", "separator, append"),
				api.Perm("file-write"),
				api.Raises("not_found", "access_denied"),
				api.Returns("CSVWriter out"),
				api.Example(`local file = fs.temp_file(".csv")
local out = require("imd.csv").writer(file, { "t", "cpu" })
out:row{ time.now(), 12.5 }
return out.rows -- => 1`)),
			api.Function("read", "Reads a file as a list of rows, each a list of texts. With "+
				"header=true each row is a table whose keys are the names in the first row.",
				"path opts?", read,
				fs.PathParam("path", "the file", host.AccessRead),
				api.ParamDoc("opts", "header, separator"),
				api.Perm("file-read"),
				api.Raises("not_found", "too_large", "decode"),
				api.Returns("table[] rows"),
				api.Example(`local file = fs.temp_file(".csv")
fs.write(file, 'name,size\n"a, b",1\n')
local rows = require("imd.csv").read(file, { header = true })
return rows -- => { { name = "a, b", size = "1" } }`)),
		},
	}
}

type options struct {
	Separator string `lua:"separator" doc:"the character between two values" default:","`
}

// comma returns the separator for encoding/csv. n is the number of the options argument.
func (o options) comma(c *api.Call, n int) (rune, error) {
	r, size := utf8.DecodeRuneInString(o.Separator)
	if size != len(o.Separator) || r == utf8.RuneError || r == '"' || r == '\r' || r == '\n' {
		return 0, c.ArgError(n, "separator must be one character other than a quote or an end of line")
	}
	return r, nil
}
