// Package hash is the script module hash: checksums of bytes and of files.
//
//	hash.sha256("abc")
//	hash.file("sha256", "build/Shop.ipa")
package hash

import (
	"context"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"hash"
	"hash/crc32"
	"io"
	"os"
	"strings"

	"github.com/imdlua/imdlua/runtime/host"
	"github.com/imdlua/imdlua/runtime/host/api"
	"github.com/imdlua/imdlua/runtime/host/localfile"
	"github.com/imdlua/imdlua/stdlib/fs"
)

// large is the largest number of bytes that are hashed with the interpreter lock held.
const large = 1 << 20

// algorithm is one way to compute a checksum.
type algorithm struct {
	name    string
	make    func() hash.Hash
	example string
}

var algorithms = []algorithm{
	{"md5", md5.New, `return hash.md5("abc") -- => "900150983cd24fb0d6963f7d28e17f72"`},
	{"sha1", sha1.New, `return hash.sha1("abc") -- => "a9993e364706816aba3e25717850c26c9cd0d89d"`},
	{"sha256", sha256.New, `return hash.sha256("abc"):sub(1, 8) -- => "ba7816bf"`},
	{"sha512", sha512.New, `return hash.sha512("abc"):sub(1, 8) -- => "ddaf35a1"`},
	{"crc32", newCRC32, `return hash.crc32("123456789") -- => "cbf43926"`},
}

func newCRC32() hash.Hash { return crc32.NewIEEE() }

// Module declares the module.
func Module() *api.Module {
	m := &api.Module{
		Name:   "hash",
		Doc:    "Checksums. All results are hexadecimal digits; hex.decode turns them into bytes.",
		Global: true,
		Perm:   "none",
	}
	for _, a := range algorithms {
		of := func(c *api.Call, data []byte) string { return sum(c, a.make(), data) }
		m.Funcs = append(m.Funcs, api.Function(a.name, "The "+a.name+" checksum of bytes.",
			"data", of,
			api.ParamDoc("data", "string or Data"),
			api.Example(a.example)))
	}
	m.Funcs = append(m.Funcs,
		api.Function("file", "The checksum of a file, which is read in pieces.",
			"algorithm path", file,
			api.ParamDoc("algorithm", "md5, sha1, sha256, sha512 or crc32"),
			fs.PathParam("path", "the file", host.AccessRead),
			api.Perm("file-read"),
			api.Raises("not_found"),
			api.Example(`local ok, err = try(hash.file, "sha256", "/no/such/file")
return err.code -- => "not_found"`)),
		api.Function("hmac", "The keyed checksum (HMAC) of bytes.",
			"algorithm key data", keyed,
			api.ParamDoc("algorithm", "md5, sha1, sha256 or sha512"),
			api.ParamDoc("key", "string or Data"),
			api.ParamDoc("data", "string or Data"),
			api.Example(`return hash.hmac("sha256", "key", "abc"):sub(1, 8) -- => "9c196e32"`)),
	)
	return m
}

func sum(c *api.Call, h hash.Hash, data []byte) string {
	if len(data) < large {
		h.Write(data)
	} else {
		c.Block(func(context.Context) error { h.Write(data); return nil })
	}
	return hex.EncodeToString(h.Sum(nil))
}

// find returns the function that makes a hash. name is the first argument of the call.
func find(c *api.Call, name string) (func() hash.Hash, error) {
	var known []string
	for _, a := range algorithms {
		if a.name == name {
			return a.make, nil
		}
		known = append(known, a.name)
	}
	return nil, c.ArgError(1, "unknown algorithm %q (known: %s)", name, strings.Join(known, ", "))
}

func keyed(c *api.Call, name string, key, data []byte) (string, error) {
	m, err := find(c, name)
	if err != nil {
		return "", err
	}
	if name == "crc32" {
		return "", c.ArgError(1, "crc32 has no HMAC")
	}
	return sum(c, hmac.New(m, key), data), nil
}

func file(c *api.Call, name, path string) (string, error) {
	m, err := find(c, name)
	if err != nil {
		return "", err
	}
	h := m()
	err = fs.Do(c, "hash", func(ctx context.Context) error {
		f, err := localfile.Open(ctx, path, os.O_RDONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		return localfile.Do(ctx, f, func() error {
			_, err := io.Copy(h, localfile.Reader(ctx, f))
			return err
		})
	})
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
