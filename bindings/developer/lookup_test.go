package developer

import (
	"errors"
	"reflect"
	"testing"

	"github.com/imdlua/imdlua/runtime/codec/plist"
	"github.com/imdlua/imdlua/runtime/link"
	"github.com/imdlua/imdlua/runtime/service/mobileimagemounter"
)

// TestLookUp checks lookUp with the answers of versions of iOS that cannot list images.
func TestLookUp(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		answer    plist.Dict
		signature []byte
		found     int
		err       error
	}{
		{
			"mounted",
			plist.Dict{
				"ImagePresent": true, "ImageSignature": []byte{1, 2}, "Status": "Complete",
			},
			[]byte{1, 2}, 1, nil,
		},
		{"mounted, unsigned", plist.Dict{"ImagePresent": true, "Status": "Complete"}, nil, 1, nil},
		{"none", plist.Dict{"ImagePresent": false, "Status": "Complete"}, nil, 0, nil},
		{"locked", plist.Dict{"Error": "DeviceLocked"}, nil, 0, mobileimagemounter.ErrDeviceLocked},
	} {
		a, b := link.Pipe()
		asked := make(chan plist.Dict, 1)
		go func() {
			conn := link.NewPlistConn(b)
			d, _ := conn.RecvDict(t.Context())
			asked <- d
			_ = conn.Send(t.Context(), c.answer)
		}()
		client := mobileimagemounter.New(a)
		got, err := lookUp(t.Context(), client)
		if !errors.Is(err, c.err) {
			t.Errorf("%s: lookUp = %v, want %v", c.name, err, c.err)
		}
		if len(got) != c.found {
			t.Errorf("%s: lookUp = %+v, want %d images", c.name, got, c.found)
		}
		for _, i := range got {
			if !i.Developer() {
				t.Errorf("%s: %+v is not a developer image", c.name, i)
			}
			if i.Type != "Developer" {
				t.Errorf("%s: type %q, want Developer", c.name, i.Type)
			}
			if i.MountPath != "/Developer" {
				t.Errorf("%s: mounted at %q, want /Developer", c.name, i.MountPath)
			}
			if !reflect.DeepEqual(i.Signature, c.signature) {
				t.Errorf("%s: signature %v, want %v", c.name, i.Signature, c.signature)
			}
		}
		request := <-asked
		if request["Command"] != "LookupImage" {
			t.Errorf("%s: command %v, want LookupImage", c.name, request["Command"])
		}
		if request["ImageType"] != "Developer" {
			t.Errorf("%s: image type %v, want Developer", c.name, request["ImageType"])
		}
		client.Close()
		b.Close()
	}
}
