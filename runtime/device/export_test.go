package device

import "github.com/imdlua/imdlua/runtime/service/heartbeat"

// Heartbeat is what keeps the device awake beside the shared session, nil when
// there is none.
func (d *Device) Heartbeat() *heartbeat.Client {
	<-d.turn
	defer func() { d.turn <- struct{}{} }()
	if d.session == nil {
		return nil
	}
	return d.session.beat
}
