package identity

// Profile holds the properties that all phones of one model and iOS version have
// in common. It never changes, so phones may share it.
type Profile struct {
	Name        string // as Options.Profile
	DeviceName  string
	Class       Class // "" means IPhone
	Marketing   string
	Major       int // of the iOS version
	Version     string
	Build       string
	Darwin      string // kernel version
	ProductType string
	Hardware    string // HardwareModel
	Platform    string // HardwarePlatform
	ChipID      uint32
	BoardID     int64
	IBoot       string
	ModelNumber string
	Color       string
	Enclosure   string

	BasebandVersion string
	BasebandChip    int64
	BasebandCert    int64
	PRI             [3]int64
	Carrier         string // version of the carrier bundle

	TAC, TAC2 string // type allocation codes of the two IMEIs
	MACBank   uint32 // vendor part of the MAC addresses
	Salt      uint64 // makes the identifiers differ from those of other profiles

	Capacity   uint64 // of the data volume
	SystemSize uint64 // of the system volume
	Used       int64  // of the data volume when new
	RAM        int64
	Design     int64 // mAh of the battery
	Width      int64 // pixels
	Height     int64

	// GestaltGone says that MobileGestalt only answers MobileGestaltDeprecated, as
	// since iOS 17.4.
	GestaltGone bool
	// ClockLocked says that hosts may no longer set the clock.
	ClockLocked bool
	// RemotePairing is the version of the remote pairing protocol that the phone
	// speaks; 0 means that it has no remote pairing.
	RemotePairing int64
}

// Class is the kind of device, as DeviceClass of lockdown says it.
type Class string

// The classes of the profiles.
const (
	IPhone Class = "iPhone"
	IPad   Class = "iPad"
)

// DeviceClass returns the class of the device.
func (p *Profile) DeviceClass() Class {
	if p.Class == "" {
		return IPhone
	}
	return p.Class
}

// firstPAC is the first chip with pointer authentication, that of the A12.
const firstPAC = 0x8020

// Architecture returns the architecture of the processor: arm64e if it has pointer
// authentication, otherwise arm64.
func (p *Profile) Architecture() string {
	if p.ChipID < firstPAC {
		return "arm64"
	}
	return "arm64e"
}

// Families returns the values of UIDeviceFamily of the apps that run on the device. iPads run
// the apps of iPhones as well.
func (p *Profile) Families() []any {
	if p.DeviceClass() == IPad {
		return []any{int64(1), int64(2)}
	}
	return []any{int64(1)}
}

// USBProduct returns the product identifier of the device on the USB.
func (p *Profile) USBProduct() uint16 {
	if p.DeviceClass() == IPad {
		return 0x12AB
	}
	return 0x12A8
}

// Telephony reports whether the device makes phone calls.
func (p *Profile) Telephony() bool { return p.DeviceClass() == IPhone }

// ScreenScale returns the number of pixels to a point of the screen.
func (p *Profile) ScreenScale() float64 {
	if p.DeviceClass() == IPad {
		return 2
	}
	return 3
}

const gib = 1 << 30

var profiles = []*Profile{
	{
		Name: "ios16", DeviceName: "Virtual iPhone", Marketing: "iPhone 13", Major: 16,
		Version: "16.7.2", Build: "20H115", Darwin: "22.6.0",
		ProductType: "iPhone14,5", Hardware: "D17AP", Platform: "t8110", ChipID: 0x8110,
		BoardID: 10,
		IBoot:   "iBoot-8422.142.2", ModelNumber: "MLPF3", Color: "1", Enclosure: "1",
		BasebandVersion: "3.50.06", BasebandChip: 2814177, BasebandCert: 2315222105,
		PRI: [3]int64{0, 1, 163},
		TAC: "35407115", TAC2: "35407116", MACBank: 0x5C5284, Salt: 0x1607, Carrier: "53.1.3",
		Capacity: 128_000_000_000 - 12*gib, SystemSize: 12 * gib, Used: 38*gib + 311*4096,
		RAM:    4 * gib,
		Design: 3227, Width: 1170, Height: 2532,
	},
	{
		// Before 17.4 there are only QUIC tunnels, and MobileGestalt answers.
		Name: "ios17.2", DeviceName: "Virtual iPhone", Marketing: "iPhone 14", Major: 17,
		Version: "17.2.1", Build: "21C66", Darwin: "23.2.0",
		ProductType: "iPhone14,7", Hardware: "D27AP", Platform: "t8110", ChipID: 0x8110,
		BoardID: 24,
		IBoot:   "iBoot-10151.62.5", ModelNumber: "MPUA3", Color: "1", Enclosure: "1",
		BasebandVersion: "2.21.00", BasebandChip: 2818273, BasebandCert: 524245983,
		PRI: [3]int64{0, 1, 163},
		TAC: "35193241", TAC2: "35193242", MACBank: 0x147DDA, Salt: 0x1702, Carrier: "56.0",
		Capacity: 128_000_000_000 - 13*gib, SystemSize: 13 * gib, Used: 52*gib + 409*4096,
		RAM:    6 * gib,
		Design: 3279, Width: 1170, Height: 2532, ClockLocked: true, RemotePairing: 19,
	},
	{
		Name: "ios17", DeviceName: "Virtual iPhone", Marketing: "iPhone 14 Pro", Major: 17,
		Version: "17.5.1", Build: "21F90", Darwin: "23.5.0",
		ProductType: "iPhone15,2", Hardware: "D73AP", Platform: "t8120", ChipID: 0x8120,
		BoardID: 12,
		IBoot:   "iBoot-10151.122.1", ModelNumber: "MQ0G3", Color: "1", Enclosure: "5",
		BasebandVersion: "2.55.00", BasebandChip: 2818273, BasebandCert: 524245983,
		PRI: [3]int64{0, 1, 163},
		TAC: "35285711", TAC2: "35285712", MACBank: 0x5C5284, Salt: 0x1705, Carrier: "58.0",
		Capacity: 128_000_000_000 - 13*gib, SystemSize: 13 * gib, Used: 41*gib + 77*4096,
		RAM:    6 * gib,
		Design: 3200, Width: 1179, Height: 2556, GestaltGone: true, ClockLocked: true,
		RemotePairing: 19,
	},
	{
		Name: "ios18", DeviceName: "Virtual iPhone", Marketing: "iPhone 16 Pro", Major: 18,
		Version: "18.5", Build: "22F76", Darwin: "24.5.0",
		ProductType: "iPhone17,1", Hardware: "D93AP", Platform: "t8140", ChipID: 0x8140,
		BoardID: 12,
		IBoot:   "iBoot-11881.122.1", ModelNumber: "MYNF3", Color: "1", Enclosure: "1",
		BasebandVersion: "1.60.02", BasebandChip: 2830561, BasebandCert: 1938027712,
		PRI: [3]int64{0, 1, 170},
		TAC: "35641217", TAC2: "35641218", MACBank: 0x84D328, Salt: 0x1805, Carrier: "63.0",
		Capacity: 256_000_000_000 - 15*gib, SystemSize: 15 * gib, Used: 63*gib + 1021*4096,
		RAM:    8 * gib,
		Design: 3582, Width: 1206, Height: 2622, GestaltGone: true, ClockLocked: true,
		RemotePairing: 24,
	},
	{
		Name: "ios26", DeviceName: "Virtual iPhone", Marketing: "iPhone 17", Major: 26,
		Version: "26.1", Build: "23B85", Darwin: "25.1.0",
		ProductType: "iPhone18,3", Hardware: "V57AP", Platform: "t8150", ChipID: 0x8150, BoardID: 8,
		IBoot: "iBoot-13822.42.2", ModelNumber: "MG6J4", Color: "1", Enclosure: "1",
		BasebandVersion: "1.20.02", BasebandChip: 2834657, BasebandCert: 3461279054,
		PRI: [3]int64{0, 1, 172},
		TAC: "35883920", TAC2: "35883921", MACBank: 0xF4D488, Salt: 0x2601, Carrier: "68.0",
		Capacity: 256_000_000_000 - 18*gib, SystemSize: 18 * gib, Used: 71*gib + 233*4096,
		RAM:    8 * gib,
		Design: 3692, Width: 1206, Height: 2622, GestaltGone: true, ClockLocked: true,
		RemotePairing: 24,
	},
	{
		// Since 27.2 remoted keeps one connection to a list of services.
		Name: "ios27", DeviceName: "Virtual iPhone", Marketing: "iPhone 13 Pro", Major: 27,
		Version: "27.2", Build: "24C92", Darwin: "26.2.0",
		ProductType: "iPhone14,2", Hardware: "D63AP", Platform: "t8110", ChipID: 0x8110,
		BoardID: 12,
		IBoot:   "iBoot-15204.62.4", ModelNumber: "MLV93", Color: "1", Enclosure: "1",
		BasebandVersion: "6.20.02", BasebandChip: 2814177, BasebandCert: 2315222105,
		PRI: [3]int64{0, 1, 163},
		TAC: "35408213", TAC2: "35408214", MACBank: 0x3CA6F6, Salt: 0x2702, Carrier: "72.0",
		Capacity: 128_000_000_000 - 19*gib, SystemSize: 19 * gib, Used: 47*gib + 613*4096,
		RAM:    6 * gib,
		Design: 3095, Width: 1170, Height: 2532, GestaltGone: true, ClockLocked: true,
		RemotePairing: 26,
	},
	{
		Name: "ipad17", DeviceName: "Virtual iPad", Class: IPad,
		Marketing: "iPad (10th generation)", Major: 17,
		Version: "17.5.1", Build: "21F90", Darwin: "23.5.0",
		ProductType: "iPad13,19", Hardware: "J272AP", Platform: "t8101", ChipID: 0x8101,
		BoardID: 10,
		IBoot:   "iBoot-10151.122.1", ModelNumber: "MQ6J3", Color: "1", Enclosure: "2",
		BasebandVersion: "5.00.01", BasebandChip: 2814177, BasebandCert: 2315222105,
		PRI: [3]int64{0, 1, 163},
		TAC: "35407520", TAC2: "35407521", MACBank: 0x3C3B77, Salt: 0x11705, Carrier: "58.0",
		Capacity: 64_000_000_000 - 13*gib, SystemSize: 13 * gib, Used: 19*gib + 131*4096,
		RAM:    4 * gib,
		Design: 7606, Width: 1640, Height: 2360, GestaltGone: true, ClockLocked: true,
		RemotePairing: 19,
	},
	{
		Name: "ipad18", DeviceName: "Virtual iPad", Class: IPad,
		Marketing: "iPad Pro 11-inch (M4)", Major: 18,
		Version: "18.5", Build: "22F76", Darwin: "24.5.0",
		ProductType: "iPad16,4", Hardware: "J718AP", Platform: "t8132", ChipID: 0x8132,
		BoardID: 6,
		IBoot:   "iBoot-11881.122.1", ModelNumber: "MVW13", Color: "1", Enclosure: "1",
		BasebandVersion: "4.40.01", BasebandChip: 2830561, BasebandCert: 1938027712,
		PRI: [3]int64{0, 1, 170},
		TAC: "35641730", TAC2: "35641731", MACBank: 0x60DD70, Salt: 0x11805, Carrier: "63.0",
		Capacity: 256_000_000_000 - 15*gib, SystemSize: 15 * gib, Used: 55*gib + 613*4096,
		RAM:    8 * gib,
		Design: 8160, Width: 1668, Height: 2420, GestaltGone: true, ClockLocked: true,
		RemotePairing: 24,
	},
}

// profileNamed returns nil for an unknown name.
func profileNamed(name string) *Profile {
	for _, p := range profiles {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// Profiles lists the names of all profiles: iPhones, then iPads, each with the oldest iOS
// first.
func Profiles() []string {
	names := make([]string, len(profiles))
	for i, p := range profiles {
		names[i] = p.Name
	}
	return names
}
