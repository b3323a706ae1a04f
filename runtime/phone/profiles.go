package phone

// profile is what all phones of one model and iOS version have in common.
// Nothing in it changes, so any number of phones share one.
type profile struct {
	name        string // as Options.Profile
	deviceName  string
	marketing   string
	major       int // of the iOS version
	version     string
	build       string
	darwin      string // kernel version
	productType string
	hardware    string // HardwareModel
	platform    string // HardwarePlatform
	chipID      uint32
	boardID     int64
	iBoot       string
	modelNumber string
	color       string
	enclosure   string

	basebandVersion string
	basebandChip    int64
	basebandCert    int64
	pri             [3]int64
	carrier         string // version of the carrier bundle

	tac, tac2 string // type allocation codes of the two IMEIs
	macBank   uint32 // vendor part of the MAC addresses
	salt      uint64 // makes the identifiers differ from other profiles'

	capacity   uint64 // of the data volume
	systemSize uint64 // of the system volume
	used       int64  // of the data volume when new
	ram        int64
	design     int64 // mAh of the battery
	width      int64 // pixels
	height     int64

	// gestaltGone says that MobileGestalt answers nothing but
	// MobileGestaltDeprecated, as from 17.4 on.
	gestaltGone bool
	// clockLocked says that hosts may no longer set the clock.
	clockLocked bool
	// remotePairing is the version of the protocol that the phone speaks; 0
	// is none.
	remotePairing int64
}

const gib = 1 << 30

var profiles = []*profile{
	{
		name: "ios16", deviceName: "Virtual iPhone", marketing: "iPhone 13", major: 16,
		version: "16.7.2", build: "20H115", darwin: "22.6.0",
		productType: "iPhone14,5", hardware: "D17AP", platform: "t8110", chipID: 0x8110,
		boardID: 10,
		iBoot:   "iBoot-8422.142.2", modelNumber: "MLPF3", color: "1", enclosure: "1",
		basebandVersion: "3.50.06", basebandChip: 2814177, basebandCert: 2315222105,
		pri: [3]int64{0, 1, 163},
		tac: "35407115", tac2: "35407116", macBank: 0x5C5284, salt: 0x1607, carrier: "53.1.3",
		capacity: 128_000_000_000 - 12*gib, systemSize: 12 * gib, used: 38*gib + 311*4096,
		ram:    4 * gib,
		design: 3227, width: 1170, height: 2532,
	},
	{
		// Before 17.4: QUIC tunnels alone, and MobileGestalt answers.
		name: "ios17.2", deviceName: "Virtual iPhone", marketing: "iPhone 14", major: 17,
		version: "17.2.1", build: "21C66", darwin: "23.2.0",
		productType: "iPhone14,7", hardware: "D27AP", platform: "t8110", chipID: 0x8110,
		boardID: 24,
		iBoot:   "iBoot-10151.62.5", modelNumber: "MPUA3", color: "1", enclosure: "1",
		basebandVersion: "2.21.00", basebandChip: 2818273, basebandCert: 524245983,
		pri: [3]int64{0, 1, 163},
		tac: "35193241", tac2: "35193242", macBank: 0x147DDA, salt: 0x1702, carrier: "56.0",
		capacity: 128_000_000_000 - 13*gib, systemSize: 13 * gib, used: 52*gib + 409*4096,
		ram:    6 * gib,
		design: 3279, width: 1170, height: 2532, clockLocked: true, remotePairing: 19,
	},
	{
		name: "ios17", deviceName: "Virtual iPhone", marketing: "iPhone 14 Pro", major: 17,
		version: "17.5.1", build: "21F90", darwin: "23.5.0",
		productType: "iPhone15,2", hardware: "D73AP", platform: "t8120", chipID: 0x8120,
		boardID: 12,
		iBoot:   "iBoot-10151.122.1", modelNumber: "MQ0G3", color: "1", enclosure: "5",
		basebandVersion: "2.55.00", basebandChip: 2818273, basebandCert: 524245983,
		pri: [3]int64{0, 1, 163},
		tac: "35285711", tac2: "35285712", macBank: 0x5C5284, salt: 0x1705, carrier: "58.0",
		capacity: 128_000_000_000 - 13*gib, systemSize: 13 * gib, used: 41*gib + 77*4096,
		ram:    6 * gib,
		design: 3200, width: 1179, height: 2556, gestaltGone: true, clockLocked: true,
		remotePairing: 19,
	},
	{
		name: "ios18", deviceName: "Virtual iPhone", marketing: "iPhone 16 Pro", major: 18,
		version: "18.5", build: "22F76", darwin: "24.5.0",
		productType: "iPhone17,1", hardware: "D93AP", platform: "t8140", chipID: 0x8140,
		boardID: 12,
		iBoot:   "iBoot-11881.122.1", modelNumber: "MYNF3", color: "1", enclosure: "1",
		basebandVersion: "1.60.02", basebandChip: 2830561, basebandCert: 1938027712,
		pri: [3]int64{0, 1, 170},
		tac: "35641217", tac2: "35641218", macBank: 0x84D328, salt: 0x1805, carrier: "63.0",
		capacity: 256_000_000_000 - 15*gib, systemSize: 15 * gib, used: 63*gib + 1021*4096,
		ram:    8 * gib,
		design: 3582, width: 1206, height: 2622, gestaltGone: true, clockLocked: true,
		remotePairing: 24,
	},
	{
		name: "ios26", deviceName: "Virtual iPhone", marketing: "iPhone 17", major: 26,
		version: "26.1", build: "23B85", darwin: "25.1.0",
		productType: "iPhone18,3", hardware: "V57AP", platform: "t8150", chipID: 0x8150, boardID: 8,
		iBoot: "iBoot-13822.42.2", modelNumber: "MG6J4", color: "1", enclosure: "1",
		basebandVersion: "1.20.02", basebandChip: 2834657, basebandCert: 3461279054,
		pri: [3]int64{0, 1, 172},
		tac: "35883920", tac2: "35883921", macBank: 0xF4D488, salt: 0x2601, carrier: "68.0",
		capacity: 256_000_000_000 - 18*gib, systemSize: 18 * gib, used: 71*gib + 233*4096,
		ram:    8 * gib,
		design: 3692, width: 1206, height: 2622, gestaltGone: true, clockLocked: true,
		remotePairing: 24,
	},
}

// profileNamed returns nil for an unknown name.
func profileNamed(name string) *profile {
	for _, p := range profiles {
		if p.name == name {
			return p
		}
	}
	return nil
}

// Profiles lists the names that Options.Profile takes, oldest iOS first.
func Profiles() []string {
	names := make([]string, len(profiles))
	for i, p := range profiles {
		names[i] = p.name
	}
	return names
}
