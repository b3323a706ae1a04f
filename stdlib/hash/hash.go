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
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"

	"github.com/imdlua/imdlua/runtime/host/api"
)

// large is how many bytes are hashed without giving the interpreter lock up.
const large = 1 << 20

var names = []string{"md5", "sha1", "sha256", "sha512", "crc32"}

func maker(name string) func() hash.Hash {
	switch name {
	case "md5":
		return md5.New
	case "sha1":
		return sha1.New
	case "sha256":
		return sha256.New
	case "sha512":
		return sha512.New
	case "crc32":
		return func() hash.Hash { return crc32.NewIEEE() }
	}
	return nil
}

// Module declares the module.
func Module() *api.Module {
	m := &api.Module{Name: "hash", Doc: "Checksums. All results are hexadecimal digits; hex.decode makes bytes of them.", Global: true, Perm: "none"}
	examples := map[string]string{
		"md5":    `return hash.md5("abc") -- => "900150983cd24fb0d6963f7d28e17f72"`,
		"sha1":   `return hash.sha1("abc") -- => "a9993e364706816aba3e25717850c26c9cd0d89d"`,
		"sha256": `return hash.sha256("abc"):sub(1, 8) -- => "ba7816bf"`,
		"sha512": `return hash.sha512("abc"):sub(1, 8) -- => "ddaf35a1"`,
		"crc32":  `return hash.crc32("123456789") -- => "cbf43926"`,
	}
	for _, name := range names {
		m.Funcs = append(m.Funcs, api.Function(name, "The "+name+" checksum of bytes.", "data",
			func(c *api.Call, data []byte) string { return sum(c, maker(name)(), data) },
			api.ParamDoc("data", "string or Data"), api.Example(examples[name])))
	}
	alg := api.ParamDoc("algorithm", "md5, sha1, sha256, sha512 or crc32")
	m.Funcs = append(m.Funcs,
		api.Function("file", "The checksum of a file, which is read in pieces.", "algorithm path", file, alg,
			api.ParamDoc("path", "the file"), api.StringKind("path", "path"), api.Perm("file-read"), api.Raises("not_found"),
			api.Example(`local ok, err = try(hash.file, "sha256", "/no/such/file")
return err.code -- => "not_found"`)),
		api.Function("hmac", "The keyed checksum (HMAC) of bytes.", "algorithm key data", keyed, alg,
			api.ParamDoc("key", "string or Data"), api.ParamDoc("data", "string or Data"),
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

func find(c *api.Call, name string) (func() hash.Hash, error) {
	if m := maker(name); m != nil {
		return m, nil
	}
	return nil, c.ArgError(1, "unknown algorithm %q (known: md5, sha1, sha256, sha512, crc32)", name)
}

func keyed(c *api.Call, name string, key, data []byte) (string, error) {
	m, err := find(c, name)
	if err != nil {
		return "", err
	}
	if name == "crc32" {
		return "", c.ArgError(1, "crc32 has no keyed form")
	}
	return sum(c, hmac.New(m, key), data), nil
}

func file(c *api.Call, name, path string) (string, error) {
	m, err := find(c, name)
	if err != nil {
		return "", err
	}
	h := m()
	err = c.Timeout(api.NoTimeout).TryBlock(func(ctx context.Context) error { return read(ctx, h, path) })
	if err != nil {
		return "", fmt.Errorf("hash: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func read(ctx context.Context, h hash.Hash, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for ctx.Err() == nil {
		if _, err := io.CopyN(h, f, large); err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
	}
	return ctx.Err()
}
