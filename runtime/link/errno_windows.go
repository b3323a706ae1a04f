package link

import "syscall"

// socketErrors has the numbers of Winsock (see "Windows Sockets Error Codes").
var socketErrors = map[syscall.Errno]syscall.Errno{
	syscall.EACCES:        10013,
	syscall.EMFILE:        10024,
	syscall.EADDRINUSE:    10048,
	syscall.EADDRNOTAVAIL: 10049,
	syscall.ENETDOWN:      10050,
	syscall.ENETUNREACH:   10051,
	syscall.ECONNABORTED:  10053,
	syscall.ECONNRESET:    10054,
	syscall.ENOTCONN:      10057,
	syscall.EPIPE:         10058, // WSAESHUTDOWN
	syscall.ETIMEDOUT:     10060,
	syscall.ECONNREFUSED:  10061,
	syscall.EHOSTDOWN:     10064,
	syscall.EHOSTUNREACH:  10065,
}
