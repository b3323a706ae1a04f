package service

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"testing"
)

const (
	errNoApp   Code = "NoSuchApp"
	errNothing Code = "NothingInParticular"
)

var errs = Errors{Service: "sample", Codes: map[Code]error{errNoApp: fs.ErrNotExist}}

func TestErrorText(t *testing.T) {
	t.Parallel()
	numbered := errs.Refused("install", "a.b", errNothing, "not for you")
	numbered.Number = -402620395
	silent := errs.Refused("install", "a.b", errNothing, "")
	silent.Number = 16
	for _, tc := range []struct {
		err  error
		want string
	}{
		{errs.New("connect", "", io.EOF), `sample: connect: EOF`},
		{errs.New("look up", "a\nb", io.EOF), `sample: look up "a\nb": EOF`},
		{errs.Refused("list", "", errNoApp, ""), `sample: list: NoSuchApp`},
		{errs.Refused("look up", "a.b", errNoApp, ""), `sample: look up "a.b": NoSuchApp`},
		{errs.Refused("list", "", errNoApp, "no app"), `sample: list: NoSuchApp: no app`},
		{numbered, `sample: install "a.b": NothingInParticular: not for you (0xe8008015)`},
		{silent, `sample: install "a.b": NothingInParticular (0x10)`},
	} {
		if got := tc.err.Error(); got != tc.want {
			t.Errorf("got  %s\nwant %s", got, tc.want)
		}
	}
}

func TestErrorIs(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		err    error
		target error
		want   bool
	}{
		{errs.Refused("list", "", errNoApp, ""), errNoApp, true},
		{errs.Refused("list", "", errNoApp, ""), fs.ErrNotExist, true},
		{errs.Refused("list", "", errNoApp, ""), errNothing, false},
		{errs.Refused("list", "", errNoApp, ""), fs.ErrPermission, false},
		{errs.Refused("list", "", errNothing, ""), errNothing, true},
		{errs.Refused("list", "", errNothing, ""), fs.ErrNotExist, false},
		{errs.Refused("list", "", "Unheard", ""), Code("Unheard"), true},
		{errs.New("list", "", io.EOF), io.EOF, true},
		{errs.New("list", "", io.EOF), Code(""), false},
		{errs.New("list", "", fmt.Errorf("read: %w", io.EOF)), io.EOF, true},
		{errs.New("list", "", io.EOF), fs.ErrNotExist, false},
	} {
		if got := errors.Is(tc.err, tc.target); got != tc.want {
			t.Errorf("errors.Is(%v, %v) = %t, want %t", tc.err, tc.target, got, tc.want)
		}
	}
}
