package usbmux

import (
	"bytes"
	"errors"
	"io/fs"
	"reflect"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/plist"
)

func TestPairRecords(t *testing.T) {
	t.Parallel()
	m := newMuxer(t, MuxerOptions{})
	c := newClient(t, Options{Dial: pipeTo(m)})
	ctx := testContext(t)
	if _, err := c.ReadPairRecord(ctx, testUDID); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadPairRecord = %v, want not exist", err)
	}
	record := plist.Dict{"HostID": "H", "EscrowBag": []byte{0, 1, 2}, "Other": int64(7)}
	sent, _ := plist.Encode(record, plist.Binary)
	if err := c.SavePairRecord(ctx, testUDID, 0, sent); err != nil {
		t.Fatal(err)
	}
	b, err := c.ReadPairRecord(ctx, testUDID)
	if err != nil {
		t.Errorf("ReadPairRecord: %v", err)
	}
	if !bytes.HasPrefix(b, []byte("<?xml")) {
		t.Errorf("ReadPairRecord = %.20q, want XML", b)
	}
	d, err := plist.DecodeDict(b)
	if err != nil {
		t.Errorf("record: %v", err)
	}
	if !reflect.DeepEqual(d, record) {
		t.Errorf("record = %v, want %v", d, record)
	}
	if err := c.DeletePairRecord(ctx, testUDID); err != nil {
		t.Error(err)
	}
	if err := c.DeletePairRecord(ctx, testUDID); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("second DeletePairRecord = %v, want not exist", err)
	}
}

// brokenRecords is a store that fails as a folder would.
type brokenRecords struct{ err error }

func (r brokenRecords) Read(string) ([]byte, error) { return nil, r.err }
func (r brokenRecords) Write(string, []byte) error  { return r.err }
func (r brokenRecords) Delete(string) error         { return r.err }

func TestRecordStoreFailures(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	for _, c := range []struct {
		err  error
		want Result
	}{{fs.ErrPermission, noPermission}, {errors.New("disk on fire"), ioFailure}} {
		m := newMuxer(t, MuxerOptions{Records: brokenRecords{c.err}})
		client := newClient(t, Options{Dial: pipeTo(m)})
		_, err := client.ReadPairRecord(ctx, "x")
		for _, err := range []error{
			err, client.SavePairRecord(ctx, "x", 0, []byte("<plist><dict/></plist>")),
			client.DeletePairRecord(ctx, "x"),
		} {
			if !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		}
	}
}
