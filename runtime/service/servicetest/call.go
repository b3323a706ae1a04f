package servicetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
)

// Call calls one method of a client that waits for an answer of the device. A method
// that takes only a context and returns only an error, such as (*Client).Hangup, is a
// Call.
type Call[C any] func(c C, ctx context.Context) error

// Calls holds calls by name.
type Calls[C any] map[string]Call[C]

// Value returns a Call of a method that returns a value.
func Value[C, T any](method func(C, context.Context) (T, error)) Call[C] {
	return func(c C, ctx context.Context) error { return either(method(c, ctx)) }
}

// With returns a Call of a method that takes an argument and returns a value.
func With[C, A, T any](method func(C, context.Context, A) (T, error), arg A) Call[C] {
	return func(c C, ctx context.Context) error { return either(method(c, ctx, arg)) }
}

// either checks that a method returned either a value or an error. It returns err if
// that is so, and another error if the method returned both or neither.
func either[T any](value T, err error) error {
	v := reflect.ValueOf(&value).Elem()
	if err != nil && !v.IsZero() {
		return fmt.Errorf("servicetest: %+v beside the error %v", value, err)
	}
	if k := v.Kind(); err == nil && (k == reflect.Pointer || k == reflect.Map) && v.IsNil() {
		return errors.New("servicetest: neither a value nor an error")
	}
	return err
}
