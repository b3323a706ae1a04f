package files

import (
	"cmp"
	"context"
	"errors"

	"github.com/imdlua/imdlua/bindings/crashes"
	"github.com/imdlua/imdlua/bindings/device"
	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/service/afc"
	"github.com/imdlua/imdlua/runtime/service/housearrest"
)

// media returns the media folder.
func media(d *device.Device) *Files {
	return device.Part(d, "files", func() *Files {
		return newFiles(d, "media", func(ctx context.Context) (*afc.Client, error) {
			return afc.Connect(ctx, d)
		})
	})
}

// crashFiles returns the folder of crash reports.
func crashFiles(d *device.Device) *Files {
	return device.Part(d, "crash_files", func() *Files {
		return newFiles(d, "crash reports", func(ctx context.Context) (*afc.Client, error) {
			return crashes.Open(ctx, d)
		})
	})
}

type containerOptions struct {
	device.Timeout
	Docs bool `lua:"docs" doc:"only the Documents folder of an app with file sharing"`
}

// container returns the container of an app. It connects at once, so that a wrong
// bundle identifier is an error of this call and not of the first use of a file.
func container(c *api.Call, d *device.Device, id string, o containerOptions) (*Files, error) {
	vend := housearrest.VendContainer
	if o.Docs {
		vend = housearrest.VendDocuments
	}
	part := "container of " + id
	if o.Docs {
		part = "documents of " + id
	}
	f := device.Part(d, part, func() *Files {
		return newFiles(d, part, func(ctx context.Context) (*afc.Client, error) {
			return vend(ctx, d, id)
		})
	})
	err := d.Do(c, o.Timeout, func(ctx context.Context) error {
		_, err := f.conn.Get(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// explain explains the errors of AFC.
func explain(err error) (code, hint string) {
	switch {
	case errors.Is(err, afc.ErrKind):
		return "not_supported", ""
	case errors.Is(err, afc.ErrProtocol):
		return "protocol", ""
	}
	var refused *afc.Error
	if !errors.As(err, &refused) || refused.Status == 0 {
		return "", ""
	}
	return cmp.Or(statusCodes[refused.Status], "afc"), ""
}

// statusCodes maps the statuses of AFC to the codes that scripts see.
var statusCodes = map[afc.Status]string{
	afc.NotFound:         "not_found",
	afc.Exists:           "exists",
	afc.PermissionDenied: "access_denied",
	afc.IsDirectory:      "is_directory",
	afc.NotEmpty:         "not_empty",
	afc.NoSpace:          "no_space",
	afc.Busy:             "busy",
	afc.WouldBlock:       "busy",
	afc.NotSupported:     "not_supported",
}

// Family returns the members files, crash_files and app_files of Device.
func Family() device.Family {
	return device.Family{
		Fields: []*api.Field{
			api.Property("files", "the media folder: photos, downloads, recordings", media),
			api.Property("crash_files", "the folder of crash reports; pending ones are moved "+
				"there when it is first opened",
				crashFiles),
		},
		Methods: []*api.Func{
			api.Method("app_files", "Opens the container of an app, as long as it is signed for "+
				"development, or with docs=true the Documents folder of an app with file sharing.",
				"bundle_id opts?", container,
				api.ParamDoc("bundle_id", "of the app"),
				api.StringKind("bundle_id", "bundle_id"),
				api.ParamDoc("opts", "docs, timeout"),
				api.Raises("ApplicationLookupFailed", "InstallationLookupFailed",
					"PasswordProtected", "timeout"),
				api.Perm("read"),
				api.Example(`local dev = device()
local box = dev:app_files("com.example.shop")
for _, f in ipairs(box:list("Documents")) do print(f.name) end`)),
		},
		Classes: []*api.Class{filesClass(), fileClass()},
		Records: []*api.Record{
			api.NewRecord[Info]("RemoteFileInfo", "A file, directory or link on the device."),
			api.NewRecord[Usage]("FileUsage", "How full a volume is, in bytes."),
			api.NewRecord[Transferred]("Transferred", "What a transfer copied."),
			api.NewRecord[RenamedFile]("RenamedFile", "A file that a transfer gave another name, "+
				"because this computer cannot write the one that it has on the device."),
			api.NewRecord[CopiedLink]("CopiedLink", "A symbolic link that a transfer copied."),
		},
		Explain: explain,
	}
}

func filesClass() *api.Class {
	c := api.NewClass[*Files]("Files", "A file tree of the device. Paths begin at its root, with "+
		"or without a slash. One connection serves all tasks and is opened again when it is lost.")
	c.Var = "files"
	c.Shared = "each call names its file, and the connection tells the answers apart"
	c.String = (*Files).describe
	opts, p := api.ParamDoc("opts", "timeout"), api.ParamDoc("path", "path on the device")
	remote := api.StringKind("path", "remote_path")
	raises := api.Raises("not_found", "access_denied", "too_large", "timeout",
		"disconnected")
	const f = "local files = device().files\n"
	c.Methods = []*api.Func{
		api.Method("list", "Lists a directory, sorted by name. The field skipped of the result "+
			"has what the device did not describe (Skipped records).",
			"path? opts?", list,
			p,
			opts,
			remote,
			raises,
			api.Returns("RemoteFileInfo[] files"),
			api.Perm("read"),
			api.Example(f+`for _, i in ipairs(files:list("DCIM")) do print(i.name, i.size) end`)),
		api.Method("stat", "Describes a file. Returns nil when it does not exist.",
			"path opts?", stat,
			p,
			opts,
			remote,
			raises,
			api.Returns("RemoteFileInfo? file"),
			api.Perm("read"),
			api.Example(f+`print(files:stat("DCIM").kind)`)),
		api.Method("exists", "Says whether there is something at the path.",
			"path opts?", exists,
			p,
			opts,
			remote,
			raises,
			api.Returns("boolean exists"),
			api.Perm("read"),
			api.Example(f+`print(files:exists("DCIM"))`)),
		api.Method("walk", "Lists all that is below a directory, each directory before its "+
			"entries. The result can be looped over: `for file in files:walk(\"DCIM\") do`. "+
			"Its field skipped has what the device refused or did not describe (Skipped records); "+
			"any other failure is an error.",
			"path? opts?", walk,
			p,
			opts,
			remote,
			raises,
			api.Returns("List files"),
			api.Perm("read"),
			api.Example(f+`for file in files:walk("DCIM") do print(file.path) end`)),
		api.Method("glob", "Lists the paths that match a pattern: * and ? within a name, ** any "+
			"directories, [a-z], {HEIC,MOV}. The field skipped of the result has what the device "+
			"refused or did not describe, and could have matched (Skipped records).",
			"pattern opts?", glob,
			api.ParamDoc("pattern", "such as DCIM/**/*.{HEIC,MOV}"),
			opts,
			raises,
			api.Returns("List files"),
			api.Perm("read"),
			api.Example(f+`for file in files:glob("DCIM/**/*.{JPG,HEIC}") do
  print(file.path, file.size)
end`)),
		api.Method("read", "Reads a whole file.",
			"path opts?", read,
			p,
			opts,
			remote,
			raises,
			api.Returns("Data bytes"),
			api.Perm("read"),
			api.Example(f+`files:write("Downloads/a.txt", "hello")
print(files:read("Downloads/a.txt"):string())`)),
		api.Method("write", "Writes a whole file, replacing what was there.",
			"path bytes opts?", write,
			p,
			api.ParamDoc("bytes", "text or Data"),
			opts,
			remote,
			raises,
			api.Perm("modify"),
			api.Example(f+`files:write("Downloads/a.txt", "hello")`)),
		api.Method("open", "Opens a file for reading (r), writing (w), appending (a); with + for "+
			"both.",
			"path mode? opts?", openFile,
			p,
			api.ParamDoc("mode", "r when left out"),
			opts,
			remote,
			raises,
			api.Perm("modify"),
			api.Example(f+`local file = files:open("Downloads/b.txt", "w")
file:write("hello")
file:close()`)),
		api.Method("pull", "Copies a file, or a directory with all that is below it, to this "+
			"computer. Several requests are under way at once. A file has its name when it is "+
			"complete, also when the copy fails. What the device refuses below the path is not "+
			"copied and told in the result (skipped), and names that this computer cannot write "+
			"are changed (renamed).",
			"path to? opts?", pull,
			p,
			api.ParamDoc("to", "local path; the file's name in the current folder when left out"),
			api.StringKind("to", "path"),
			api.Access("to", host.AccessWrite),
			api.Checks(host.AccessWrite),
			api.ParamDoc("opts", "progress, where true shows a line of progress on the terminal; "+
				"timeout; idle_timeout; tuning"),
			remote,
			raises,
			api.Returns("Transferred what"),
			api.Perm("read"),
			api.Example(f+`files:write("Downloads/c.txt", "hello")
local n = files:pull("Downloads/c.txt", path.join(fs.temp_dir(), "c.txt"))
print(n.bytes)`)),
		api.Method("push", "Copies a local file, or a directory with all that is below it, to the "+
			"device. A file has its name when it is complete. What is neither a file, a directory "+
			"nor a link is not copied and told in the result (skipped).",
			"from path opts?", push,
			api.ParamDoc("from", "local path"),
			api.StringKind("from", "path"),
			api.Access("from", host.AccessRead),
			p,
			api.ParamDoc("opts", "progress, where true shows a line of progress on the terminal; "+
				"timeout; idle_timeout; tuning"),
			remote,
			raises,
			api.Returns("Transferred what"),
			api.Perm("modify"),
			api.Example(f+`local p = path.join(fs.temp_dir(), "d.txt")
fs.write(p, "hello")
print(files:push(p, "Downloads/d.txt").bytes)`)),
		api.Method("mkdir", "Makes a directory and its missing parents.",
			"path opts?", mkdir,
			p,
			opts,
			remote,
			raises,
			api.Perm("modify"),
			api.Example(f+`files:mkdir("Downloads/new/folder")`)),
		api.Method("remove", "Removes a file, a link or an empty directory; with recursive=true a "+
			"directory with all that is in it.",
			"path opts?", remove,
			p,
			api.ParamDoc("opts", "recursive, missing_ok, timeout"),
			remote,
			api.Raises("not_found", "not_empty", "access_denied", "timeout",
				"disconnected"),
			api.Perm("modify"),
			api.Example(f+`files:mkdir("Downloads/old")
files:remove("Downloads/old", { recursive = true })`)),
		api.Method("rename", "Moves a file or directory; a file at the target is replaced.",
			"path to opts?", move,
			p,
			api.ParamDoc("to", "new path"),
			opts,
			remote,
			raises,
			api.Perm("modify"),
			api.Example(f+`files:write("Downloads/e.txt", "hello")
files:rename("Downloads/e.txt", "Downloads/f.txt")`)),
		api.Method("symlink", "Makes a symbolic link.",
			"target path opts?", symlink,
			api.ParamDoc("target", "text of the link"),
			p,
			opts,
			remote,
			raises,
			api.Perm("modify"),
			api.Example(f+`files:symlink("DCIM", "Downloads/photos")`)),
		api.Method("df", "Says how full the volume is.",
			"opts?", usage,
			opts,
			raises,
			api.Perm("read"),
			api.Example(f+"print(files:df().free)")),
	}
	c.Methods = append(c.Methods, oldNames(c.Methods)...)
	return c
}

// oldNames declares deprecated names of methods of Files. The methods had these names before they
// were renamed to match the functions of fs.
func oldNames(methods []*api.Func) []*api.Func {
	var out []*api.Func
	for _, m := range methods {
		old := map[string]string{"list": "ls", "remove": "rm", "rename": "mv"}[m.Name]
		if old == "" {
			continue
		}
		f := *m
		f.Name, f.Deprecated = old, "files:"+m.Name
		out = append(out, &f)
	}
	return out
}

func fileClass() *api.Class {
	c := api.NewClass[*File]("RemoteFile", "An open file of the device.")
	c.Var, c.Closer, c.Perm = "file", true, "modify"
	c.String = func(f *File) string { return "RemoteFile<" + f.file.Path() + ">" }
	c.Fields = []*api.Field{api.Property("path", "path as it was opened",
		func(f *File) string { return f.file.Path() })}
	const open = `local files = device().files
local file = files:open("Downloads/g.txt", "w+")
`
	opts, raises := api.ParamDoc("opts", "timeout"), api.Raises("timeout", "disconnected")
	c.Methods = []*api.Func{
		api.Method("read", "Reads n bytes, fewer at the end of the file; without n, what one "+
			"request brings. Returns nil at the end.",
			"n? opts?", fileRead,
			api.ParamDoc("n", "how many bytes"),
			opts,
			raises,
			api.Returns("Data? bytes"),
			api.Perm("read"),
			api.Example(open+`file:write("hello")
file:seek(0)
print(file:read(5):string())`)),
		api.Method("write", "Writes bytes at the position.",
			"bytes opts?", fileWrite,
			api.ParamDoc("bytes", "text or Data"),
			opts,
			raises,
			api.Perm("modify"),
			api.Example(open+`file:write("hello")`)),
		api.Method("seek", "Moves the position and returns it.",
			"offset whence?", fileSeek,
			api.ParamDoc("offset", "bytes"),
			api.ParamDoc("whence", "set, cur or end; set when left out"),
			raises,
			api.Returns("integer position"),
			api.Perm("read"),
			api.Example(open+`print(file:seek(0, "end"))`)),
	}
	return c
}
