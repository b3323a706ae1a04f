// Package stdlib is the script library that has nothing to do with devices. Each folder is one
// module. A new one is a line in Modules.
package stdlib

import (
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/stdlib/args"
	"github.com/imdlua/imdlua/stdlib/base"
	"github.com/imdlua/imdlua/stdlib/base64"
	"github.com/imdlua/imdlua/stdlib/bit"
	"github.com/imdlua/imdlua/stdlib/bytes"
	"github.com/imdlua/imdlua/stdlib/collections"
	"github.com/imdlua/imdlua/stdlib/csv"
	"github.com/imdlua/imdlua/stdlib/errors"
	"github.com/imdlua/imdlua/stdlib/exec"
	"github.com/imdlua/imdlua/stdlib/fs"
	"github.com/imdlua/imdlua/stdlib/hash"
	"github.com/imdlua/imdlua/stdlib/hex"
	"github.com/imdlua/imdlua/stdlib/http"
	"github.com/imdlua/imdlua/stdlib/image"
	"github.com/imdlua/imdlua/stdlib/iter"
	"github.com/imdlua/imdlua/stdlib/json"
	"github.com/imdlua/imdlua/stdlib/log"
	"github.com/imdlua/imdlua/stdlib/lua51"
	"github.com/imdlua/imdlua/stdlib/path"
	"github.com/imdlua/imdlua/stdlib/plist"
	"github.com/imdlua/imdlua/stdlib/re"
	"github.com/imdlua/imdlua/stdlib/retry"
	"github.com/imdlua/imdlua/stdlib/str"
	"github.com/imdlua/imdlua/stdlib/task"
	"github.com/imdlua/imdlua/stdlib/tbl"
	"github.com/imdlua/imdlua/stdlib/term"
	"github.com/imdlua/imdlua/stdlib/time"
	"github.com/imdlua/imdlua/stdlib/utf8"
	"github.com/imdlua/imdlua/stdlib/version"
	"github.com/imdlua/imdlua/stdlib/yaml"
)

// Modules declares the library. Each call makes new declarations, because some of them hold the
// state of the host that they are installed in.
func Modules() []*api.Module {
	return []*api.Module{
		base.Module(),
		base.HelpModule(),
		task.Module(),
		errors.Module(),
		log.Module(),
		fs.Module(),
		path.Module(),
		json.Module(),
		plist.Module(),
		yaml.Module(),
		time.Module(),
		args.Module(),
		re.Module(),
		base64.Module(),
		hex.Module(),
		hash.Module(),
		csv.Module(),
		bytes.Module(),
		bit.Module(),
		version.Module(),
		str.Module(),
		tbl.Module(),
		iter.Module(),
		collections.Module(),
		retry.Module(),
		retry.EventuallyModule(),
		utf8.Module(),
		term.Module(),
		image.Module(),
		exec.Module(),
		http.Module(),
	}
}

// Install gives the scripts of h the library.
func Install(h *host.Host) error {
	lua51.Open(h)
	h.OnStart(args.Prepare)
	plist.Register(h)
	api.Describe(h, lua51.Libraries)
	return api.Install(h, Modules()...)
}
