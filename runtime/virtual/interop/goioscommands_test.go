//go:build linux

package interop

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"image/png"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/imdlua/imdlua/runtime/phone/apps"
	"github.com/imdlua/imdlua/runtime/phone/files"
	"github.com/imdlua/imdlua/runtime/phone/log"
)

// goIOSCommand is a test of commands of go-ios that runs beside the others of a phone.
type goIOSCommand struct {
	names  []string // the commands, as docs/foreign.md has them
	tunnel bool     // they exist only for phones with tunnels
	usbmux bool     // they use no tunnel: one of the profiles with tunnels is enough
	off    string   // reason why the test does not run
	run    func(*goIOS)
}

var goIOSCommands = []goIOSCommand{
	{names: []string{"list", "list --details"}, usbmux: true, run: (*goIOS).list},
	{
		names:  []string{"info", "devicename", "date", "lockdown get", "batterycheck"},
		usbmux: true, run: (*goIOS).values,
	},
	{names: []string{"readpair"}, usbmux: true, run: (*goIOS).readPair},
	{names: []string{"lang"}, usbmux: true, run: (*goIOS).language},
	{names: []string{"timeformat get", "devmode get"}, usbmux: true, run: (*goIOS).settings},
	{names: []string{"apps", "apps --list --all"}, usbmux: true, run: (*goIOS).apps},
	{
		names: []string{"ps", "launch", "kill", "memlimitoff"},
		run:   (*goIOS).processes,
	},
	{
		names: []string{"instruments notifications"}, run: (*goIOS).notifications,
		off: "the reader of go-ios 1.2.0 waits for a consumer of the first event, which only " +
			"begins after the next answer (mended in 1.3.2)",
	},
	{names: []string{"screenshot"}, run: (*goIOS).screenshot},
	{names: []string{"syslog"}, run: (*goIOS).syslog},
	{names: []string{"ostrace"}, run: (*goIOS).osTrace},
	{names: []string{"devicestate list", "devicestate enable"}, run: (*goIOS).conditions},
	{names: []string{"setlocation", "resetlocation"}, run: (*goIOS).location},
	{names: []string{"sysmontap"}, run: (*goIOS).sysmon},
	{names: []string{"image list"}, usbmux: true, run: (*goIOS).images},
	{names: []string{"crash ls", "crash cp", "crash rm"}, usbmux: true, run: (*goIOS).crashes},
	{
		names:  []string{"fsync push", "fsync pull", "fsync tree", "fsync mkdir", "fsync rm"},
		usbmux: true, run: (*goIOS).media,
	},
	{names: []string{"fsync --app"}, usbmux: true, run: (*goIOS).container},
	{names: []string{"diskspace"}, usbmux: true, run: (*goIOS).diskSpace},
	{
		names:  []string{"mobilegestalt", "batteryregistry", "diagnostics list"},
		usbmux: true, run: (*goIOS).diagnostics,
	},
	{names: []string{"rsd ls", "tunnel ls"}, tunnel: true, run: (*goIOS).services},
	{names: []string{"info display"}, tunnel: true, run: (*goIOS).display},
}

// value returns a value of the phone's lockdownd.
func (g *goIOS) value(domain, key string) any {
	g.Helper()
	v, ok := g.phone().Values.Get(domain, key)
	if !ok {
		g.Fatalf("the phone has no value %s %s", domain, key)
	}
	return v
}

func (g *goIOS) list() {
	id := g.phone().Identity
	var plain struct{ DeviceList []string }
	g.prints(&plain, "list")
	g.sameText("list", plain.DeviceList, []string{id.UDID})
	var detailed struct {
		DeviceList []struct{ Udid, ProductType, ProductVersion, ConnectionType string }
	}
	g.prints(&detailed, "list", "--details")
	if len(detailed.DeviceList) != 1 {
		g.Fatalf("list --details has %d devices, want 1", len(detailed.DeviceList))
	}
	d := detailed.DeviceList[0]
	g.sameText("list --details",
		[]string{d.Udid, d.ProductType, d.ProductVersion, d.ConnectionType},
		[]string{id.UDID, id.ProductType, id.Version, "USB"})
}

func (g *goIOS) values() {
	var info map[string]any
	g.prints(&info, "info")
	same := 0
	for key, want := range g.phone().Values.Domain("") {
		if text, ok := want.(string); ok {
			g.sameText("info "+key, info[key], text)
			same++
		}
	}
	if same < 20 {
		g.Errorf("only %d texts compared", same)
	}
	if _, ok := info["instruments:hardwareInformation"].(map[string]any); !ok && !g.tunnel {
		g.Errorf("info has no instruments:hardwareInformation, which comes over lockdown: %v", info)
	}
	var name struct{ DeviceName string }
	g.prints(&name, "devicename")
	g.sameText("devicename", name.DeviceName, g.phone().Values.Name())

	before := g.phone().Clock.Now().Unix()
	var date struct{ TimeIntervalSince1970 float64 }
	g.prints(&date, "date")
	after := g.phone().Clock.Now().Unix()
	if at := int64(date.TimeIntervalSince1970); at < before || at > after {
		g.Errorf("date: %d, want it between %d and %d", at, before, after)
	}
	var version string
	g.prints(&version, "lockdown", "get", "ProductVersion")
	g.sameText("lockdown get", version, g.phone().Identity.Version)
	const domain, key = "com.apple.mobile.battery", "BatteryCurrentCapacity"
	var capacity int
	g.prints(&capacity, "lockdown", "get", key, "--domain="+domain)
	g.sameText("lockdown get --domain", capacity, g.value(domain, key))
	var battery struct {
		BatteryCurrentCapacity        int
		BatteryIsCharging, HasBattery bool
	}
	g.prints(&battery, "batterycheck")
	b := g.phone().Power.Battery()
	g.sameText("percent of batterycheck", battery.BatteryCurrentCapacity, b.Percent)
	g.sameText("charging of batterycheck", battery.BatteryIsCharging, b.Filling())
	if !battery.HasBattery {
		g.Error("batterycheck: there is no battery")
	}
}

func (g *goIOS) readPair() {
	var record struct{ HostID string }
	g.prints(&record, "readpair")
	if _, ok := g.phone().Trust.Host(record.HostID); !ok {
		g.Errorf("readpair: the phone does not know the host %q", record.HostID)
	}
}

func (g *goIOS) language() {
	var got struct {
		Language, Locale                     string
		SupportedLanguages, SupportedLocales []string
	}
	g.prints(&got, "lang")
	const domain = "com.apple.international"
	g.sameText("language", got.Language, g.value(domain, "Language"))
	g.sameText("locale", got.Locale, g.value(domain, "Locale"))
	g.sameText("languages", got.SupportedLanguages, g.value(domain, "SupportedLanguages"))
	g.sameText("locales", got.SupportedLocales, g.value(domain, "SupportedLocales"))
}

func (g *goIOS) setLanguage() {
	var got struct{ Language, Locale string }
	g.prints(&got, "lang", "--setlang=de", "--setlocale=de_DE")
	g.sameText("language", got.Language, "de")
	g.sameText("language of the phone", g.value("com.apple.international", "Language"), "de")
	g.sameText("locale of the phone", g.value("com.apple.international", "Locale"), "de_DE")
}

func (g *goIOS) settings() {
	var format struct{ TimeFormat string }
	g.prints(&format, "timeformat", "get")
	want := "12h"
	if g.value("", "Uses24HourClock") == true {
		want = "24h"
	}
	g.sameText("timeformat get", format.TimeFormat, want)
	var mode struct{ DeveloperModeEnabled bool }
	g.prints(&mode, "devmode", "get")
	g.sameText("devmode get", mode.DeveloperModeEnabled, g.phone().Values.DeveloperMode())
}

func (g *goIOS) apps() {
	var list []struct{ CFBundleIdentifier, CFBundleVersion, Path string }
	g.prints(&list, "apps")
	got, want := map[string]string{}, map[string]string{}
	for _, a := range list {
		got[a.CFBundleIdentifier] = a.CFBundleVersion + " " + a.Path
	}
	var lines []string
	for _, a := range g.phone().Apps.List() {
		if a.Type() == apps.User {
			want[a.BundleID()] = a.Version() + " " + a.Path()
		}
		if a.Type() != apps.Hidden {
			lines = append(lines, a.BundleID()+" "+a.Name()+" "+a.ShortVersion())
		}
	}
	if !maps.Equal(got, want) {
		g.Errorf("apps: %v, want %v", got, want)
	}
	printed := strings.Split(strings.TrimSpace(g.output(g.path, "apps", "--list", "--all")), "\n")
	slices.Sort(printed)
	slices.Sort(lines)
	if !slices.Equal(printed, lines) {
		g.Errorf("apps --list --all:\n%s\nwant\n%s", strings.Join(printed, "\n"),
			strings.Join(lines, "\n"))
	}
}

// processes is one test, because it compares the list of all processes.
func (g *goIOS) processes() {
	const shop = "com.example.shop"
	pid := g.logs("Process launched", "launch", shop)["pid"]
	app, ok := g.phone().Processes.OfApp(shop)
	if !ok {
		g.Fatal("launch: the app does not run")
	}
	g.sameText("launch", pid, app.PID)
	var list []struct {
		Name          string
		Pid           int
		IsApplication bool
	}
	g.prints(&list, "ps")
	got, want := map[int]string{}, map[int]string{}
	for _, p := range list {
		got[p.Pid] = p.Name + " " + strconv.FormatBool(p.IsApplication)
	}
	for _, p := range g.phone().Processes.List() {
		_, installed := g.phone().Apps.Find(p.BundleID)
		want[p.PID] = p.Name + " " + strconv.FormatBool(installed)
	}
	want[0] = "Mach Kernel false" // the name that Instruments has for it
	if !maps.Equal(got, want) {
		g.Errorf("ps: %v, want %v", got, want)
	}
	off := g.logs("memory limit is off", "memlimitoff", "--process="+app.Name)
	g.sameText("process of memlimitoff", off["pid"], app.PID)
	if !g.phone().Processes.MemoryUnlimited(app.PID) {
		g.Error("memlimitoff: the phone still limits the memory of the app")
	}
	g.sameText("kill", g.logs("killed", "kill", shop)["pid"], app.PID)
	if _, ok := g.phone().Processes.OfApp(shop); ok {
		g.Error("kill: the app still runs")
	}
	g.wantStatus(1, "not installed", g.path, "kill", "com.example.nowhere")
}

func (g *goIOS) notifications() {
	const shop = "com.example.shop"
	p := g.follow("instruments", "notifications")
	p.until(shop, 20*time.Millisecond, func() {
		if run, ok := g.phone().Processes.OfApp(shop); ok {
			g.phone().Processes.Kill(run.PID)
		}
		g.phone().Processes.Launch(shop)
	})
	g.end(p)
}

func (g *goIOS) screenshot() {
	file := filepath.Join(g.dir, "screen.png")
	saved := g.logs("File saved successfully", "screenshot", "--output="+file)
	g.sameText("screenshot", saved["outputPath"], file)
	b, err := os.ReadFile(file)
	if err != nil {
		g.Fatal(err)
	}
	picture, err := png.DecodeConfig(bytes.NewReader(b))
	if err != nil {
		g.Fatal(err)
	}
	width, height := g.phone().Screen.Size()
	g.sameText("size", []int{picture.Width, picture.Height}, []int{width, height})
}

func (g *goIOS) syslog() {
	p := g.follow("syslog", "--parse")
	p.until("are you there", 10*time.Millisecond,
		func() { g.say("SpringBoard", 0, "are you there") })
	g.say("SpringBoard", log.LevelError, "a line for syslog")
	var got struct{ Process, PID, Level, Message string }
	line := p.line("a line for syslog")
	if err := json.Unmarshal([]byte(line), &got); err != nil {
		g.Fatalf("syslog printed %q: %v", line, err)
	}
	proc, _ := g.phone().Processes.Named("SpringBoard")
	g.sameText("syslog", []string{got.Process, got.PID, got.Level, got.Message},
		[]string{"SpringBoard", strconv.Itoa(proc.PID), "Error", "a line for syslog"})
	g.end(p)
}

func (g *goIOS) osTrace() {
	p := g.follow("ostrace")
	p.until("are you there", 10*time.Millisecond,
		func() { g.say("SpringBoard", 0, "are you there") })
	proc, _ := g.phone().Processes.Named("SpringBoard")
	g.phone().Log.Write(log.Entry{
		PID: proc.PID, Level: log.LevelFault, Message: "a line for ostrace",
		Subsystem: "com.example.sub", Category: "interop",
	})
	var got struct {
		PID                int
		LevelName, Message string
		Label              struct{ Subsystem, Category string }
	}
	line := p.line("a line for ostrace")
	if err := json.Unmarshal([]byte(line), &got); err != nil {
		g.Fatalf("ostrace printed %q: %v", line, err)
	}
	g.sameText("ostrace",
		[]string{
			strconv.Itoa(got.PID), got.LevelName, got.Message, got.Label.Subsystem,
			got.Label.Category,
		},
		[]string{
			strconv.Itoa(proc.PID), "Fault", "a line for ostrace", "com.example.sub", "interop",
		})
	g.end(p)
}

func (g *goIOS) conditions() {
	var list []struct {
		Identifier, Name string
		Profiles         []struct{ Identifier string }
	}
	g.prints(&list, "devicestate", "list")
	var got, want []string
	for _, c := range list {
		for _, p := range c.Profiles {
			got = append(got, c.Identifier+" "+c.Name+" "+p.Identifier)
		}
	}
	for _, c := range g.phone().Conditions.List() {
		for _, p := range c.Profiles {
			want = append(want, c.ID+" "+c.Name+" "+p.ID)
		}
	}
	if !slices.Equal(got, want) {
		g.Errorf("devicestate list: %q, want %q", got, want)
	}
	p := g.follow("devicestate", "enable", "SlowNetworkCondition", "SlowNetwork3GGood")
	p.line("is active!")
	id, level := g.phone().Conditions.Active()
	g.sameText("devicestate enable", []string{"SlowNetworkCondition", "SlowNetwork3GGood"},
		[]string{id, level})
	// An interrupt may come before go-ios waits for one. It ends the program then, and the
	// condition with the connection.
	g.interrupt(p)
	g.eventually("the condition has ended", func() bool {
		id, _ := g.phone().Conditions.Active()
		return id == ""
	})
}

// location uses the service com.apple.dt.simulatelocation if there is no tunnel, and
// otherwise Instruments. resetlocation always uses that service, which phones do not have
// since iOS 17.
func (g *goIOS) location() {
	simulated := func() bool {
		_, simulated := g.phone().Location.Place()
		return simulated
	}
	set := []string{"setlocation", "--lat=48.8584", "--lon=2.2945"}
	if g.tunnel {
		p := g.follow(set...)
		g.eventually("the location is simulated", simulated)
		g.wantPlace()
		g.interrupt(p)
		g.eventually("the simulation has ended", func() bool { return !simulated() })
		g.wantStatus(1, "Resetting location failed", g.path, "resetlocation")
		return
	}
	g.output(g.path, set...)
	g.eventually("the location is simulated", simulated)
	g.wantPlace()
	g.output(g.path, "resetlocation")
	g.eventually("the simulation has ended", func() bool { return !simulated() })
}

// wantPlace checks that the phone is where location has put it.
func (g *goIOS) wantPlace() {
	g.Helper()
	at, _ := g.phone().Location.Place()
	g.sameText("setlocation", []float64{48.8584, 2.2945}, []float64{at.Latitude, at.Longitude})
}

func (g *goIOS) sysmon() {
	p := g.follow("sysmontap")
	line := p.line("received CPU usage data")
	var got struct {
		CPUs    int `json:"cpu_count"`
		Enabled int `json:"enabled_cpus"`
	}
	if err := json.Unmarshal([]byte(line), &got); err != nil {
		g.Fatalf("sysmontap printed %q: %v", line, err)
	}
	hardware := g.phone().Usage.Hardware()
	g.sameText("sysmontap", []int{got.CPUs, got.Enabled},
		[]int{hardware.LogicalCPUs, hardware.LogicalCPUs})
	g.end(p)
}

func (g *goIOS) images() {
	image, ok := g.phone().Image.Mounted()
	if !ok {
		g.Fatal("no image is mounted")
	}
	g.sameText("image list", g.logs("image signature", "image", "list")["signature"],
		hex.EncodeToString(image.Signature))
}

func (g *goIOS) crashes() {
	want := tree(g.T, g.phone().Crashes.Files, "/")
	if len(want) < 3 {
		g.Fatalf("the phone has only %d reports", len(want))
	}
	var list struct {
		Files  []string
		Length int
	}
	g.prints(&list, "crash", "ls")
	slices.Sort(list.Files)
	if names := slices.Sorted(maps.Keys(want)); !slices.Equal(list.Files, names) {
		g.Errorf("crash ls: %q, want %q", list.Files, names)
	}
	flat := map[string]string{}
	for name, b := range want {
		flat[path.Base(name)] = b
	}
	copied := filepath.Join(g.dir, "reports")
	if err := os.Mkdir(copied, 0o755); err != nil {
		g.Fatal(err)
	}
	g.output(g.path, "crash", "cp", "*", copied)
	sameFiles(g.T, folder(g.T, copied), flat)
	g.output(g.path, "crash", "rm", ".", "*")
	sameFiles(g.T, tree(g.T, g.phone().Crashes.Files, "/"), nil)
}

// local writes a local file and returns its path and content.
func (g *goIOS) local(name string) (file string, content []byte) {
	g.Helper()
	file, content = filepath.Join(g.dir, name), noise(1<<20+5)
	if err := os.WriteFile(file, content, 0o644); err != nil {
		g.Fatal(err)
	}
	return file, content
}

// wantFile compares a file of the phone.
func (g *goIOS) wantFile(f *files.FS, name string, want []byte) {
	g.Helper()
	b, err := f.ReadFile(name)
	if err != nil {
		g.Errorf("%s on the phone: %v", name, err)
	}
	if !bytes.Equal(b, want) {
		g.Errorf("%s: the phone has %d bytes, which are not the %d pushed", name, len(b), len(want))
	}
}

func (g *goIOS) media() {
	media := g.phone().Media
	file, content := g.local("pushed.bin")
	g.output(g.path, "fsync", "push", "--srcPath="+file, "--dstPath=Downloads/goios.bin")
	g.wantFile(media, "/Downloads/goios.bin", content)

	g.output(g.path, "fsync", "pull", "--srcPath=DCIM", "--dstPath="+g.dir)
	sameFiles(g.T, folder(g.T, filepath.Join(g.dir, "DCIM")),
		strip(tree(g.T, media, "/DCIM"), "DCIM/"))

	out := g.output(g.path, "fsync", "tree", "--path=DCIM")
	for name := range tree(g.T, media, "/DCIM") {
		if !strings.Contains(out, "|-"+path.Base(name)+"\n") {
			g.Errorf("fsync tree lacks %s: %s", name, out)
		}
	}
	g.output(g.path, "fsync", "mkdir", "--path=Downloads/goios")
	info, err := media.Stat("/Downloads/goios")
	if err != nil {
		g.Fatal(err)
	}
	if info.Kind != files.Directory {
		g.Errorf("fsync mkdir made a %v", info.Kind)
	}
	if err := media.WriteFile("/Downloads/goios/inside", []byte("x")); err != nil {
		g.Fatal(err)
	}
	g.wantStatus(1, "remove failed", g.path, "fsync", "rm", "--path=Downloads/goios")
	g.output(g.path, "fsync", "rm", "--r", "--path=Downloads/goios")
	if _, err := media.Stat("/Downloads/goios"); err == nil {
		g.Error("fsync rm --r: the folder is still there")
	}
}

func (g *goIOS) container() {
	notes, ok := g.phone().Apps.Find("com.example.notes")
	if !ok {
		g.Fatal("the phone has no com.example.notes")
	}
	file, content := g.local("pushed.bin")
	g.output(g.path, "fsync", "--app=com.example.notes", "push", "--srcPath="+file,
		"--dstPath=Documents/goios.bin")
	g.wantFile(notes.Container(), "/Documents/goios.bin", content)
	out := g.output(g.path, "fsync", "--app=com.example.notes", "tree", "--path=Documents")
	if !strings.Contains(out, "|-goios.bin\n") {
		g.Errorf("fsync tree lacks the file: %s", out)
	}
}

func (g *goIOS) diskSpace() {
	var got struct {
		Model                 string
		TotalBytes, BlockSize uint64
	}
	g.prints(&got, "diskspace")
	total, _, block := g.phone().Media.Usage()
	g.sameText("model", got.Model, g.phone().Identity.ProductType)
	g.sameText("bytes and size of blocks", []uint64{got.TotalBytes, got.BlockSize},
		[]uint64{total, uint64(block)})
}

func (g *goIOS) diagnostics() {
	product := g.phone().Identity.ProductType
	want := product
	if g.tunnel {
		want = "MobileGestaltDeprecated" // since iOS 17.4
	}
	if out := g.output(g.path, "mobilegestalt", "ProductType"); !strings.Contains(out, want) {
		g.Errorf("mobilegestalt: %s, want %s in it", out, want)
	}
	var battery map[string]any
	g.prints(&battery, "batteryregistry")
	g.sameText("batteryregistry", battery["CurrentCapacity"], g.phone().Power.Battery().Percent)
	var all struct {
		Diagnostics struct {
			GasGauge struct {
				CycleCount, DesignCapacity, FullChargeCapacity int64
				Status                                         string
			}
			HDMI struct{ Connection string }
			WiFi struct{ Active string }
		}
	}
	g.prints(&all, "diagnostics", "list")
	model, ok := g.phone().Diagnostics.Answer("All")
	if !ok {
		g.Fatal("the phone has no diagnostics All")
	}
	gauge, _ := model.Dict("GasGauge")
	hdmi, _ := model.Dict("HDMI")
	wifi, _ := model.Dict("WiFi")
	d := all.Diagnostics
	g.sameText("diagnostics list",
		[]any{
			d.GasGauge.CycleCount, d.GasGauge.DesignCapacity, d.GasGauge.FullChargeCapacity,
			d.GasGauge.Status, d.HDMI.Connection, d.WiFi.Active,
		},
		[]any{
			gauge["CycleCount"], gauge["DesignCapacity"], gauge["FullChargeCapacity"],
			gauge["Status"], hdmi["Connection"], wifi["Active"],
		})
}

func (g *goIOS) services() {
	var list map[string]any
	g.prints(&list, "rsd", "ls")
	for _, name := range []string{
		"com.apple.instruments.dtservicehub", "com.apple.coredevice.appservice",
		"com.apple.afc.shim.remote", "com.apple.mobile.lockdown.remote.trusted",
	} {
		if list[name] == nil {
			g.Errorf("rsd ls lacks %s: %v", name, list)
		}
	}
	var tunnels []struct {
		UDID         string
		UserspaceTun bool
	}
	g.prints(&tunnels, "tunnel", "ls")
	if len(tunnels) != 1 {
		g.Fatalf("tunnel ls has %d tunnels, want 1", len(tunnels))
	}
	g.sameText("tunnel ls", tunnels[0].UDID, g.phone().Identity.UDID)
	if n := g.machine().Tunnels(); n != 1 {
		g.Errorf("the phone has %d tunnels, want 1", n)
	}
}

func (g *goIOS) display() {
	var got map[string]any
	g.prints(&got, "info", "display")
	text, err := json.Marshal(got)
	if err != nil {
		g.Fatal(err)
	}
	width, height := g.phone().Screen.Size()
	for _, n := range []int{width, height} {
		if !strings.Contains(string(text), strconv.Itoa(n)) {
			g.Errorf("info display: %s, want %d in it", text, n)
		}
	}
}
