package dtx

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// A compressed payload is the u32 length of the data, followed by blocks:
//
//	"bv41"  u32 length  u32 compressed length  LZ4 block
//	"bv4-"  u32 length  bytes
//	"bv4$"  end
//
// A match may refer to data of earlier blocks.
const (
	blockLZ4    = 0x31347662 // "bv41"
	blockStored = 0x2D347662 // "bv4-"
	blockEnd    = 0x24347662 // "bv4$"

	// maxRatio is the largest number of bytes that LZ4 can make from one byte: each
	// byte that continues a length adds at most 255.
	maxRatio = 255
	minMatch = 4
)

func compressedError(format string, args ...any) error {
	return &Error{Err: fmt.Errorf("%w: "+format, append([]any{ErrCompressed}, args...)...)}
}

// Decompress expands the payload of a Compressed message.
func Decompress(b []byte) ([]byte, error) {
	if len(b) < 4 {
		return nil, compressedError("no length")
	}
	declared := binary.LittleEndian.Uint32(b)
	if declared > MaxInflated {
		return nil, &Error{Err: fmt.Errorf("%w: %d bytes when expanded", ErrTooLarge, declared)}
	}
	total := int(declared)
	b = b[4:]
	// Usual data expands to this size. If there is more, memory grows block by block.
	out := make([]byte, 0, min(total, 4*len(b)))
	for {
		if len(b) < 4 {
			return nil, compressedError("no end mark")
		}
		kind := binary.LittleEndian.Uint32(b)
		b = b[4:]
		if kind == blockEnd {
			if len(out) != total || len(b) != 0 {
				return nil, compressedError("%d bytes of %d, %d left", len(out), total, len(b))
			}
			return out, nil
		}
		var err error
		out, b, err = appendBlock(out, b, kind, total)
		if err != nil {
			return nil, err
		}
	}
}

// appendBlock expands the block at the beginning of b. It returns the output and
// the bytes after the block.
func appendBlock(out, b []byte, kind uint32, total int) (grown, rest []byte, err error) {
	if kind != blockLZ4 && kind != blockStored {
		return nil, nil, compressedError("block %08x", kind)
	}
	fields := 2
	if kind == blockStored {
		fields = 1
	}
	if len(b) < 4*fields {
		return nil, nil, compressedError("block cut short")
	}
	size := uint64(binary.LittleEndian.Uint32(b))
	packed := uint64(binary.LittleEndian.Uint32(b[4*(fields-1):]))
	b = b[4*fields:]
	if packed > uint64(len(b)) || uint64(len(out))+size > uint64(total) || size > packed*maxRatio {
		return nil, nil, compressedError("block of %d bytes in %d", size, packed)
	}
	end := len(out) + int(size)
	// The declared size is not trusted: further memory is allocated as it is needed.
	out = slices.Grow(out, min(int(size), 4*int(packed)))
	if kind == blockStored {
		out = append(out, b[:packed]...)
	} else if out, err = appendLZ4(out, b[:packed], end); err != nil {
		return nil, nil, err
	}
	if len(out) != end {
		return nil, nil, compressedError("block expands to %d bytes less", end-len(out))
	}
	return out, b[packed:], nil
}

// appendLZ4 expands one LZ4 block and appends it to out, which grows to at most end
// bytes. Matches may refer to the bytes that out holds already.
func appendLZ4(out, b []byte, end int) ([]byte, error) {
	for len(b) > 0 {
		token := b[0]
		n, rest, ok := lz4Length(int(token>>4), b[1:])
		if !ok || n > len(rest) || n > end-len(out) {
			return nil, compressedError("literals")
		}
		out = append(out, rest[:n]...)
		b = rest[n:]
		if len(b) == 0 {
			return out, nil // the last sequence has no match
		}
		if len(b) < 2 {
			return nil, compressedError("offset cut short")
		}
		offset := int(binary.LittleEndian.Uint16(b))
		n, b, ok = lz4Length(int(token&15), b[2:])
		if !ok {
			return nil, compressedError("match length")
		}
		n += minMatch
		if offset == 0 || offset > len(out) || n > end-len(out) {
			return nil, compressedError("match of %d bytes %d back", n, offset)
		}
		// A match that is longer than its offset repeats its own output.
		for from := len(out) - offset; n > 0; {
			k := min(n, len(out)-from)
			out = append(out, out[from:from+k]...)
			n -= k
		}
	}
	return out, nil
}

// lz4Length reads the bytes that continue a length whose first part is n. It
// returns the length and the bytes after it.
func lz4Length(n int, b []byte) (int, []byte, bool) {
	if n < 15 {
		return n, b, true
	}
	for i, c := range b {
		n += int(c)
		if c < 255 {
			return n, b[i+1:], true
		}
	}
	return 0, nil, false
}
