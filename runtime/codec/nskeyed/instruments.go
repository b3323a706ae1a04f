package nskeyed

// TapMessage is a message of one of Instruments' taps, which contains a dictionary. Its
// class is DTTapMessage or one that is derived from it.
type TapMessage struct {
	// Class is DTSysmonTapMessage, DTActivityTraceTapMessage, DTKTraceTapMessage,
	// DTTapStatusMessage or DTTapHeartbeatMessage; "" means DTTapMessage.
	Class   string
	Content Dict
}

const (
	classTap   = "DTTapMessage"
	keyTapDict = "DTTapMessagePlist"
)

// ArchiveObject returns the message as an object.
func (m TapMessage) ArchiveObject() (*Object, error) {
	classes := []string{classTap}
	if m.Class != "" && m.Class != classTap {
		classes = []string{m.Class, classTap}
	}
	return &Object{
		Classes: classes, Fields: []Field{{Key: keyTapDict, Value: Mutable{m.Content}}},
	}, nil
}

// CPUCluster is a DTCPUClusterInfo: the cluster that a core belongs to.
type CPUCluster struct{ ID, Flags int64 }

// ArchiveObject returns the cluster as an object.
func (c CPUCluster) ArchiveObject() (*Object, error) {
	return &Object{Classes: []string{"DTCPUClusterInfo"}, Fields: []Field{
		{"_clusterID", c.ID, true}, {"_clusterFlags", c.Flags, true},
	}}, nil
}

// Instruments returns the classes of the Instruments services. An object without a
// field of its class is decoded as an Object.
func Instruments() []Class {
	return []Class{
		{classTap, func(o *Object) (any, error) {
			if d, ok := o.Dict().Dict(keyTapDict); ok {
				return TapMessage{Class: o.Class(), Content: d}, nil
			}
			return o, nil
		}},
		{"DTCPUClusterInfo", func(o *Object) (any, error) {
			id, ok := o.Dict().Int("_clusterID")
			flags, both := o.Dict().Int("_clusterFlags")
			if ok && both {
				return CPUCluster{id, flags}, nil
			}
			return o, nil
		}},
	}
}
