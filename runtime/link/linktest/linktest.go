// Package linktest gives tests connections with bad conditions. What was written
// arrives in pieces of random sizes, and after the latency that an environment variable
// sets.
package linktest

import (
	"net"
	"os"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
)

// Latency is the environment variable with the latency of every connection of Pipe,
// such as 20ms.
const Latency = "IMDLUA_TEST_LATENCY"

// Conditions returns the conditions of Pipe.
func Conditions() link.Conditions {
	c := link.Conditions{Split: true}
	if text := os.Getenv(Latency); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			panic(Latency + ": " + err.Error())
		}
		c.Latency = d
	}
	return c
}

// Pipe returns the two ends of a connection.
func Pipe() (net.Conn, net.Conn) { return Conditions().Pipe() }

// Prompt is like Pipe, but without latency. It is for tests that expect exact times, or
// that expect a message to have arrived when all goroutines wait.
func Prompt() (net.Conn, net.Conn) { return link.Conditions{Split: true}.Pipe() }
