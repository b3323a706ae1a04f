package device

import "github.com/imdlua/imdlua/runtime/service/heartbeat"

// Heartbeat returns the heartbeat of the shared session, or nil if there is none.
func (d *Device) Heartbeat() *heartbeat.Client {
	one := <-d.sessions.shared
	defer d.sessions.put(one)
	if one.session == nil {
		return nil
	}
	return one.session.beat
}
