package rsd

import (
	"slices"
	"strconv"
	"strings"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/service"
)

// FirstPort is the first port of a device's services, which is the first one that IANA
// leaves for private use.
const FirstPort = 49152

// TableOptions choose the list that Table makes.
type TableOptions struct {
	// Untrusted is the list for hosts that are not paired.
	Untrusted bool
	// Image reports whether a developer image is mounted.
	Image bool
	// More are further services to list in tunnels. Those that the table has already
	// are not repeated.
	More []service.Name
	// Port returns the port of a service. If it is nil, ports are counted from
	// FirstPort, and a service has the same port in every list.
	Port func(name string) uint16
}

// Where an entry is listed.
const (
	trusted   = 1 << iota // in a tunnel
	untrusted             // on the USB Ethernet interface
	image                 // only while a developer image is mounted
)

// claim is what the properties of an entry state about RemoteXPC.
type claim int

const (
	claimNone  claim = iota
	claimShim        // does not use RemoteXPC; stated since iOS 18
	claimPlain       // does not use RemoteXPC
	claimXPC         // uses RemoteXPC
)

// row is an entry of the list on real devices.
type row struct {
	name        string
	entitlement string // "" means the same as name
	where       int
	claim       claim
	version     int64
	features    string // separated by spaces; name@26 is listed since iOS 26
	since       int    // version of iOS, 1704 for 17.4; 0 means all
}

const (
	trustedEntitlement   = "com.apple.mobile.lockdown.remote.trusted"
	untrustedEntitlement = "com.apple.mobile.lockdown.remote.untrusted"
	featurePrefix        = "com.apple.coredevice.feature."
)

// shims are the services of lockdown, without "com.apple." and ".shim.remote".
var shims = strings.Fields(`
	GPUTools.MobileService PurpleReverseProxy.Conn PurpleReverseProxy.Ctrl
	accessibility.axAuditDaemon.remoteserver afc amfi.lockdown atc atc2
	backgroundassets.lockdownservice bluetooth.BTPacketLogger carkit.service
	commcenter.mobile-helper-cbupdateservice companion_proxy
	crashreportcopymobile crashreportmover dt.remotepairingdeviced.lockdown
	idamd internal.devicecompute.CoreDeviceProxy iosdiagnostics.relay misagent
	mobile.MCInstall mobile.assertion_agent mobile.diagnostics_relay
	mobile.file_relay mobile.heartbeat mobile.house_arrest
	mobile.installation_proxy mobile.mobile_image_mounter
	mobile.notification_proxy mobileactivationd mobilebackup2 mobilesync
	os_trace_relay pcapd preboardservice preboardservice_v2
	springboardservices streaming_zip_conduit syslog_relay webinspector`)

// newShims are the shims that were added after iOS 17.0.
var newShims = map[string]int{"internal.devicecompute.CoreDeviceProxy": 1704}

var rows = []row{
	{
		"com.apple.mobile.insecure_notification_proxy.shim.remote", untrustedEntitlement,
		trusted | untrusted, claimShim, 0, "", 0,
	},
	{"com.apple.mobile.lockdown.remote.trusted", trustedEntitlement, trusted, claimPlain, 1, "", 0},
	{
		"com.apple.mobile.lockdown.remote.untrusted", untrustedEntitlement, trusted | untrusted,
		claimPlain, 1, "", 0,
	},
	{
		"com.apple.internal.devicecompute.CoreDeviceProxy", "AppleInternal", trusted, claimPlain, 1,
		"", 0,
	},
	{
		"com.apple.internal.dt.coredevice.untrusted.tunnelservice",
		"com.apple.dt.coredevice.tunnelservice.client", trusted | untrusted, claimXPC, 2, "", 0,
	},
	{
		"com.apple.RestoreRemoteServices.restoreserviced",
		"com.apple.private.RestoreRemoteServices.restoreservice.remote", trusted, claimXPC, 2, "", 0,
	},
	{"com.apple.mobile.notification_proxy.remote", "", trusted, claimXPC, 1, "", 0},
	{
		"com.apple.mobile.insecure_notification_proxy.remote", "", trusted | untrusted, claimXPC, 1,
		"", 0,
	},
	{
		"com.apple.mobile.storage_mounter_proxy.bridge",
		"com.apple.private.mobile_storage.remote.allowedSPI", trusted, claimXPC, 1, "", 0,
	},
	{
		"com.apple.remote.installcoordination_proxy", "com.apple.private.InstallCoordinationRemote",
		trusted, claimXPC, 1, "", 0,
	},
	{
		"com.apple.security.cryptexd.remote", "com.apple.private.security.cryptexd.remote", trusted,
		claimXPC, 3, "CryptexInstall Cryptex1 ReadIdentifiers Cryptex1,UseProductClass", 1800,
	},
	{
		"com.apple.sysdiagnose.remote", "com.apple.private.sysdiagnose.remote", trusted, claimXPC,
		0,
		"", 0,
	},
	// The device has this spelling.
	{
		"com.apple.sysdiagnose.remote.trusted", "com.apple.prviate.sysdiagnose.remote.trusted",
		trusted, claimXPC, 0, "", 1800,
	},
	{
		"com.apple.osanalytics.logTransfer", "com.apple.ReportCrash.antenna-access",
		trusted | untrusted, claimXPC, 0, "", 0,
	},
	{"com.apple.fusion.remote.service", "", trusted | untrusted, claimXPC, 1, "", 0},
	{"com.apple.carkit.remote-iap.service", "AppleInternal", trusted, claimXPC, 0, "", 0},
	{
		"com.apple.corecaptured.remoteservice", "com.apple.corecaptured.remoteservice-access",
		trusted, claimXPC, 0, "", 0,
	},

	{
		"com.apple.instruments.dtservicehub",
		"com.apple.private.dt.instruments.dtservicehub.client", trusted | image, claimNone, 0,
		"com.apple.dt.profile", 0,
	},
	{
		"com.apple.dt.testmanagerd.remote", "com.apple.private.dt.testmanagerd.client",
		trusted | image, claimPlain, 0, "", 0,
	},
	{
		"com.apple.dt.testmanagerd.remote.automation", "AppleInternal", trusted | image, claimPlain,
		0, "", 0,
	},
	{
		"com.apple.dt.remoteFetchSymbols", "com.apple.private.dt.remoteFetchSymbols.client",
		trusted | image, claimXPC, 1, "com.apple.dt.remoteFetchSymbols.dyldSharedCacheFiles", 0,
	},
	{
		"com.apple.dt.ViewHierarchyAgent.remote", "com.apple.private.dt.ViewHierarchyAgent.client",
		trusted | image, claimXPC, 0, "", 0,
	},
	{
		"com.apple.gputools.remote.agent", "com.apple.private.gputoolstransportd",
		trusted | untrusted | image, claimXPC, 1, "", 0,
	},
	{
		"com.apple.internal.dt.remote.debugproxy",
		"com.apple.private.CoreDevice.canDebugApplicationsOnDevice", trusted | image, claimXPC, 1,
		".debugserverproxy", 0,
	},
	{"com.apple.coredevice.appservice", "com.apple.private.CoreDevice.canInstallCustomerContent",
		trusted | image, claimXPC, 1,
		".launchapplication .spawnexecutable .monitorprocesstermination .installapp .uninstallapp .listroots .installroot .uninstallroot " +
			".sendsignaltoprocess .sendmemorywarningtoprocess .listprocesses .rebootdevice .listapps .fetchappicons .streamapplist@26 .streamprocesslist@26",
		0},
	{
		"com.apple.coredevice.deviceinfo", "com.apple.private.CoreDevice.canRetrieveDeviceInfo",
		trusted | image, claimXPC, 1,
		".getdisplayinfo .getdeviceinfo .querymobilegestalt .getlockstate", 0,
	},
	{
		"com.apple.coredevice.diagnosticsservice",
		"com.apple.private.CoreDevice.canObtainDiagnostics", trusted | image, claimXPC, 1,
		".capturesysdiagnose", 0,
	},
	{
		"com.apple.coredevice.fileservice.control",
		"com.apple.private.CoreDevice.canTransferFilesToDevice", trusted | image, claimXPC, 1,
		".transferFiles .listFiles", 0,
	},
	{
		"com.apple.coredevice.fileservice.data",
		"com.apple.private.CoreDevice.canTransferFilesToDevice", trusted | image, claimXPC, 1, "-",
		0,
	},
	{
		"com.apple.coredevice.openstdiosocket",
		"com.apple.private.CoreDevice.canInstallCustomerContent", trusted | image, claimXPC, 1, "-",
		0,
	},
}

// Table returns the list of a phone: some seventy services in a tunnel, and seven for
// hosts that are not paired. It does not open the ports.
func Table(p *phone.Phone, o TableOptions) []Service {
	version := p.Identity.VersionNumber()
	g := generationOf(p)
	var list []Service
	for i, r := range allRows(o.More) {
		want := trusted
		if o.Untrusted {
			want = untrusted
		}
		imageMissing := r.where&image != 0 && !o.Image
		if r.where&want == 0 || imageMissing || r.since > version {
			continue
		}
		s := r.service(g)
		s.Port = FirstPort + uint16(i)
		if o.Port != nil {
			s.Port = o.Port(s.Name)
		}
		list = append(list, s)
	}
	return list
}

// allRows returns the rows of shims, those of the table, and those of more that are not
// among them.
func allRows(more []service.Name) []row {
	all := make([]row, 0, len(shims)+len(rows))
	for _, name := range shims {
		all = append(all, row{
			name: "com.apple." + name + shimSuffix, entitlement: trustedEntitlement, where: trusted,
			claim: claimShim, since: newShims[name],
		})
	}
	all = append(all, rows...)
	for _, n := range more {
		listed := slices.ContainsFunc(all, func(r row) bool { return r.name == n.Remote })
		if n.Remote == "" || listed {
			continue
		}
		r := row{name: n.Remote, entitlement: trustedEntitlement, where: trusted, claim: claimShim}
		if !n.Checkin {
			r.entitlement, r.claim, r.version = "", claimXPC, 1
		}
		if n.NeedsDDI {
			r.where |= image
		}
		all = append(all, r)
	}
	return all
}

func (r *row) service(g generation) Service {
	s := Service{Name: r.name, Entitlement: r.entitlement, Version: r.version}
	if s.Entitlement == "" {
		s.Entitlement = r.name
	}
	var d xpc.Dict
	if r.features != "" {
		s.Features = []string{}
		list := []any{}
		for _, f := range strings.Fields(strings.TrimPrefix(r.features, "-")) {
			if name, since, ok := strings.Cut(f, "@"); ok { // listed since a version of iOS
				if n, _ := strconv.Atoi(since); n > g.major {
					continue
				}
				f = name
			}
			if short, ok := strings.CutPrefix(f, "."); ok {
				f = featurePrefix + short
			}
			s.Features = append(s.Features, f)
			list = append(list, f)
		}
		d = append(d, xpc.Pair{Key: "Features", Value: list})
	}
	if r.version != 0 {
		d = append(d, xpc.Pair{Key: "ServiceVersion", Value: r.version})
	}
	if r.claim == claimXPC || r.claim == claimPlain || r.claim == claimShim && g.shimProperties {
		s.UsesRemoteXPC = r.claim == claimXPC
		d = append(d, xpc.Pair{Key: "UsesRemoteXPC", Value: s.UsesRemoteXPC})
	}
	if r.claim == claimNone {
		d = append(d, xpc.Pair{Key: "version", Value: int64(1)}) // only dtservicehub has it
	}
	s.Properties = d
	return s
}
