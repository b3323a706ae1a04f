package psk

import (
	"fmt"
	"strconv"
)

// Alert is the description of a TLS alert.
type Alert uint8

// The alerts that this package sends.
const (
	AlertCloseNotify          Alert = 0
	AlertUnexpectedMessage    Alert = 10
	AlertBadRecordMAC         Alert = 20
	AlertRecordOverflow       Alert = 22
	AlertHandshakeFailure     Alert = 40
	AlertIllegalParameter     Alert = 47
	AlertDecodeError          Alert = 50
	AlertDecryptError         Alert = 51
	AlertProtocolVersion      Alert = 70
	AlertInternalError        Alert = 80
	AlertUserCanceled         Alert = 90
	AlertUnsupportedExtension Alert = 110
	AlertUnknownPSKIdentity   Alert = 115
)

const (
	alertWarning = 1
	alertFatal   = 2
)

var alertNames = map[Alert]string{
	AlertCloseNotify: "close notify", AlertUnexpectedMessage: "unexpected message",
	AlertBadRecordMAC: "bad record MAC", AlertRecordOverflow: "record overflow",
	AlertHandshakeFailure: "handshake failure", AlertIllegalParameter: "illegal parameter",
	AlertDecodeError: "decode error", AlertDecryptError: "decrypt error",
	AlertProtocolVersion: "protocol version", AlertInternalError: "internal error",
	AlertUserCanceled: "user canceled", AlertUnsupportedExtension: "unsupported extension",
	AlertUnknownPSKIdentity: "unknown PSK identity",
}

// String returns the name of the RFCs, or the number.
func (a Alert) String() string {
	if s, ok := alertNames[a]; ok {
		return s
	}
	return "alert " + strconv.Itoa(int(a))
}

// RemoteAlert is the cause of an Error if the peer has ended the session with an alert.
type RemoteAlert Alert

func (r RemoteAlert) Error() string { return "peer says: " + Alert(r).String() }

// violation is an error of the peer, with the alert to send for it.
type violation struct {
	alert Alert
	err   error
}

func (v *violation) Error() string { return v.err.Error() }
func (v *violation) Unwrap() error { return v.err }

func bad(a Alert, format string, args ...any) error {
	return &violation{a, fmt.Errorf(format, args...)}
}
