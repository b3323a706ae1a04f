package device

import "github.com/imdlua/imdlua/runtime/service/heartbeat"

// Heartbeat returns the heartbeat of the shared session, or nil if there is none.
func (d *Device) Heartbeat() *heartbeat.Client {
	<-d.turn
	defer func() { d.turn <- struct{}{} }()
	if d.session == nil {
		return nil
	}
	return d.session.beat
}
