package processes

import (
	"strconv"

	"github.com/imdlua/imdlua/runtime/phone/identity"
)

// noAuditUser is the audit user and the audit session of a process without a login.
const noAuditUser = 1<<32 - 1

// AuditToken returns the audit token, by which the kernel identifies a process even
// if its PID is used again: audit user, effective user and group, real user and
// group, PID, audit session, and the version of the PID. No two processes of a boot
// have the same PID and version.
func (p *Processes) AuditToken(proc Process) [8]uint32 {
	version := identity.Hash("pidversion", p.o.Clock.BootID(), strconv.Itoa(proc.PID),
		strconv.FormatInt(proc.Started.UnixNano(), 10))
	uid := uint32(UserID(proc.User))
	return [8]uint32{
		noAuditUser, uid, uid, uid, uid, uint32(proc.PID), noAuditUser, uint32(version % 1_000_000),
	}
}
