package processes

import (
	"strconv"

	"github.com/imdlua/imdlua/runtime/phone/identity"
)

// noAuditUser is the audit user and session of a process that nobody logged in
// for.
const noAuditUser = 1<<32 - 1

// AuditToken is what the kernel knows a process by, also when its PID is used
// again: audit user, effective user and group, real user and group, PID, audit
// session and the version of the PID, which no other process since boot has
// together with the PID.
func (p *Processes) AuditToken(proc Process) [8]uint32 {
	version := identity.Hash("pidversion", p.o.Clock.BootID(), strconv.Itoa(proc.PID),
		strconv.FormatInt(proc.Started.UnixNano(), 10))
	uid := uint32(UserID(proc.User))
	return [8]uint32{
		noAuditUser, uid, uid, uid, uid, uint32(proc.PID), noAuditUser, uint32(version % 1_000_000),
	}
}
