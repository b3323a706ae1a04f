package servicetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
)

// Call is a call of a client that waits for the device. A method without other parameters and
// results is one: (*Client).Hangup.
type Call[C any] func(c C, ctx context.Context) error

// Calls are calls by name.
type Calls[C any] map[string]Call[C]

// Value is a call of a method that returns a value.
func Value[C, T any](method func(C, context.Context) (T, error)) Call[C] {
	return func(c C, ctx context.Context) error { return either(method(c, ctx)) }
}

// With is a call of a method that takes an argument and returns a value.
func With[C, A, T any](method func(C, context.Context, A) (T, error), arg A) Call[C] {
	return func(c C, ctx context.Context) error { return either(method(c, ctx, arg)) }
}

// either returns err if there is either a value or an error, and another error if there are
// both or none.
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
