// Package linktest gives tests connections on which the weather is bad: what was
// written arrives in pieces of random sizes, and as late as a variable of the
// environment says.
package linktest

import (
	"net"
	"os"
	"time"

	"github.com/imdlua/imdlua/runtime/link"
)

// Latency is the variable of the environment with a latency for every connection of
// Pipe, such as 20ms.
const Latency = "IMDLUA_TEST_LATENCY"

// Conditions returns those of Pipe.
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
