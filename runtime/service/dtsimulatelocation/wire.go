// Package dtsimulatelocation overrides the location that a device up to iOS 16 reports.
//
//	-> 00 00 00 00 | 00 00 00 09 "48.858400" | 00 00 00 08 "2.294500"    latitude, longitude
//	-> 00 00 00 01                                                       end of the simulation
//
// All numbers are big endian, coordinates are texts after their lengths. The device never
// answers. Unlike the simulation of Instruments, this one stays in effect when the
// connection ends, until it is ended or the device restarts.
package dtsimulatelocation

import (
	"encoding/binary"
	"fmt"
	"io"
	"strconv"

	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service"
)

// Service is the simulation of the location, which belongs to the developer image.
var Service = service.Name{Lockdown: "com.apple.dt.simulatelocation", NeedsDDI: true}

// Operations.
const (
	opSet   = 0 // followed by the latitude and the longitude
	opClear = 1
)

// maxNumber is the length of the longest coordinate. The texts of programs have at most 24
// characters.
const maxNumber = 64

var errs = service.Errors{Service: "dtsimulatelocation"}

var (
	errOperation = link.Malformed("unknown operation")
	errNumber    = link.Malformed("not a coordinate")
)

// Request is one message of a host.
type Request struct {
	Clear               bool // ends the simulation; there are no coordinates
	Latitude, Longitude float64
}

// Append appends a request to b.
func Append(b []byte, r Request) []byte {
	if r.Clear {
		return binary.BigEndian.AppendUint32(b, opClear)
	}
	b = binary.BigEndian.AppendUint32(b, opSet)
	for _, v := range []float64{r.Latitude, r.Longitude} {
		text := strconv.FormatFloat(v, 'f', -1, 64)
		b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
		b = append(b, text...)
	}
	return b
}

// Read reads a request. It returns io.EOF if there is none.
func Read(r io.Reader) (Request, error) {
	op, err := readWord(r)
	if err != nil {
		return Request{}, err
	}
	switch op {
	case opClear:
		return Request{Clear: true}, nil
	case opSet:
	default:
		return Request{}, fmt.Errorf("%w %d", errOperation, op)
	}
	latitude, err := readNumber(r)
	if err != nil {
		return Request{}, err
	}
	longitude, err := readNumber(r)
	if err != nil {
		return Request{}, err
	}
	return Request{Latitude: latitude, Longitude: longitude}, nil
}

func readWord(r io.Reader) (uint32, error) {
	var b [4]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint32(b[:]), nil
}

// readNumber reads a coordinate. The end of the connection is unexpected here.
func readNumber(r io.Reader) (float64, error) {
	n, err := readWord(r)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return 0, err
	}
	if n > maxNumber {
		return 0, fmt.Errorf("%w: %d bytes", errNumber, n)
	}
	b := make([]byte, n)
	_, err = io.ReadFull(r, b)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return 0, err
	}
	v, err := strconv.ParseFloat(string(b), 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %q", errNumber, b)
	}
	return v, nil
}
