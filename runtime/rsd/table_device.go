package rsd

import (
	"slices"
	"strconv"
	"strings"

	"github.com/imdlua/imdlua/runtime/codec/xpc"
	"github.com/imdlua/imdlua/runtime/phone"
	"github.com/imdlua/imdlua/runtime/service"
)

// FirstPort is where a device's services begin: the first port that IANA leaves
// to whoever wants it.
const FirstPort = 49152

// TableOptions say which list Table makes.
type TableOptions struct {
	// Untrusted is the list for hosts that are not paired.
	Untrusted bool
	// Image says that a developer image is mounted.
	Image bool
	// More are services that are listed in tunnels after those that devices are
	// known to have, unless they are among them.
	More []service.Name
	// Port gives a service its port; nil counts from FirstPort, each service
	// keeping its port whatever else is listed.
	Port func(name string) uint16
}

// Where an entry is listed.
const (
	trusted   = 1 << iota // in a tunnel
	untrusted             // on the USB Ethernet interface
	image                 // only while a developer image is mounted
)

// What an entry's properties say.
type says int

const (
	saysNothing says = iota
	saysShim         // does not use RemoteXPC, said since iOS 18
	saysPlain        // does not use RemoteXPC
	saysXPC          // uses RemoteXPC
)

// row is an entry of the list as devices have it.
type row struct {
	name        string
	entitlement string // "" is the name
	where       int
	says        says
	version     int64
	features    string // separated by spaces; name@26 is there since iOS 26
	since       int    // iOS version, 1704 is 17.4; 0 is all
}

const (
	trustedEntitlement   = "com.apple.mobile.lockdown.remote.trusted"
	untrustedEntitlement = "com.apple.mobile.lockdown.remote.untrusted"
	featurePrefix        = "com.apple.coredevice.feature."
)

// shims are lockdown's services, without "com.apple." and ".shim.remote".
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

// newShims are those that came after iOS 17.0.
var newShims = map[string]int{"internal.devicecompute.CoreDeviceProxy": 1704}

var rows = []row{
	{
		"com.apple.mobile.insecure_notification_proxy.shim.remote", untrustedEntitlement,
		trusted | untrusted, saysShim, 0, "", 0,
	},
	{"com.apple.mobile.lockdown.remote.trusted", trustedEntitlement, trusted, saysPlain, 1, "", 0},
	{
		"com.apple.mobile.lockdown.remote.untrusted", untrustedEntitlement, trusted | untrusted,
		saysPlain, 1, "", 0,
	},
	{
		"com.apple.internal.devicecompute.CoreDeviceProxy", "AppleInternal", trusted, saysPlain, 1,
		"", 0,
	},
	{
		"com.apple.internal.dt.coredevice.untrusted.tunnelservice",
		"com.apple.dt.coredevice.tunnelservice.client", trusted | untrusted, saysXPC, 2, "", 0,
	},
	{
		"com.apple.RestoreRemoteServices.restoreserviced",
		"com.apple.private.RestoreRemoteServices.restoreservice.remote", trusted, saysXPC, 2, "", 0,
	},
	{"com.apple.mobile.notification_proxy.remote", "", trusted, saysXPC, 1, "", 0},
	{
		"com.apple.mobile.insecure_notification_proxy.remote", "", trusted | untrusted, saysXPC, 1,
		"", 0,
	},
	{
		"com.apple.mobile.storage_mounter_proxy.bridge",
		"com.apple.private.mobile_storage.remote.allowedSPI", trusted, saysXPC, 1, "", 0,
	},
	{
		"com.apple.remote.installcoordination_proxy", "com.apple.private.InstallCoordinationRemote",
		trusted, saysXPC, 1, "", 0,
	},
	{
		"com.apple.security.cryptexd.remote", "com.apple.private.security.cryptexd.remote", trusted,
		saysXPC, 3, "CryptexInstall Cryptex1 ReadIdentifiers Cryptex1,UseProductClass", 1800,
	},
	{
		"com.apple.sysdiagnose.remote", "com.apple.private.sysdiagnose.remote", trusted, saysXPC, 0,
		"", 0,
	},
	// Misspelt on the device.
	{
		"com.apple.sysdiagnose.remote.trusted", "com.apple.prviate.sysdiagnose.remote.trusted",
		trusted, saysXPC, 0, "", 1800,
	},
	{
		"com.apple.osanalytics.logTransfer", "com.apple.ReportCrash.antenna-access",
		trusted | untrusted, saysXPC, 0, "", 0,
	},
	{"com.apple.fusion.remote.service", "", trusted | untrusted, saysXPC, 1, "", 0},
	{"com.apple.carkit.remote-iap.service", "AppleInternal", trusted, saysXPC, 0, "", 0},
	{
		"com.apple.corecaptured.remoteservice", "com.apple.corecaptured.remoteservice-access",
		trusted, saysXPC, 0, "", 0,
	},

	{
		"com.apple.instruments.dtservicehub",
		"com.apple.private.dt.instruments.dtservicehub.client", trusted | image, saysNothing, 0,
		"com.apple.dt.profile", 0,
	},
	{
		"com.apple.dt.testmanagerd.remote", "com.apple.private.dt.testmanagerd.client",
		trusted | image, saysPlain, 0, "", 0,
	},
	{
		"com.apple.dt.testmanagerd.remote.automation", "AppleInternal", trusted | image, saysPlain,
		0, "", 0,
	},
	{
		"com.apple.dt.remoteFetchSymbols", "com.apple.private.dt.remoteFetchSymbols.client",
		trusted | image, saysXPC, 1, "com.apple.dt.remoteFetchSymbols.dyldSharedCacheFiles", 0,
	},
	{
		"com.apple.dt.ViewHierarchyAgent.remote", "com.apple.private.dt.ViewHierarchyAgent.client",
		trusted | image, saysXPC, 0, "", 0,
	},
	{
		"com.apple.gputools.remote.agent", "com.apple.private.gputoolstransportd",
		trusted | untrusted | image, saysXPC, 1, "", 0,
	},
	{
		"com.apple.internal.dt.remote.debugproxy",
		"com.apple.private.CoreDevice.canDebugApplicationsOnDevice", trusted | image, saysXPC, 1,
		".debugserverproxy", 0,
	},
	{"com.apple.coredevice.appservice", "com.apple.private.CoreDevice.canInstallCustomerContent",
		trusted | image, saysXPC, 1,
		".launchapplication .spawnexecutable .monitorprocesstermination .installapp .uninstallapp .listroots .installroot .uninstallroot " +
			".sendsignaltoprocess .sendmemorywarningtoprocess .listprocesses .rebootdevice .listapps .fetchappicons .streamapplist@26 .streamprocesslist@26",
		0},
	{
		"com.apple.coredevice.deviceinfo", "com.apple.private.CoreDevice.canRetrieveDeviceInfo",
		trusted | image, saysXPC, 1,
		".getdisplayinfo .getdeviceinfo .querymobilegestalt .getlockstate", 0,
	},
	{
		"com.apple.coredevice.diagnosticsservice",
		"com.apple.private.CoreDevice.canObtainDiagnostics", trusted | image, saysXPC, 1,
		".capturesysdiagnose", 0,
	},
	{
		"com.apple.coredevice.fileservice.control",
		"com.apple.private.CoreDevice.canTransferFilesToDevice", trusted | image, saysXPC, 1,
		".transferFiles .listFiles", 0,
	},
	{
		"com.apple.coredevice.fileservice.data",
		"com.apple.private.CoreDevice.canTransferFilesToDevice", trusted | image, saysXPC, 1, "-",
		0,
	},
	{
		"com.apple.coredevice.openstdiosocket",
		"com.apple.private.CoreDevice.canInstallCustomerContent", trusted | image, saysXPC, 1, "-",
		0,
	},
}

// Table makes the list of a phone: some seventy services in a tunnel, seven for
// hosts that are not paired. Whether anything listens at their ports is the
// caller's business.
func Table(p *phone.Phone, o TableOptions) []Service {
	version := p.Identity.VersionNumber()
	g := generationOf(p)
	var list []Service
	for i, r := range allRows(o.More) {
		want := trusted
		if o.Untrusted {
			want = untrusted
		}
		if r.where&want == 0 || r.where&image != 0 && !o.Image || r.since > version {
			continue
		}
		s := r.service(g)
		if s.Port = FirstPort + uint16(i); o.Port != nil {
			s.Port = o.Port(s.Name)
		}
		list = append(list, s)
	}
	return list
}

// allRows puts shims and rows together, and what is not among them.
func allRows(more []service.Name) []row {
	all := make([]row, 0, len(shims)+len(rows))
	for _, name := range shims {
		all = append(all, row{
			name: "com.apple." + name + shimSuffix, entitlement: trustedEntitlement, where: trusted,
			says: saysShim, since: newShims[name],
		})
	}
	all = append(all, rows...)
	for _, n := range more {
		listed := slices.ContainsFunc(all, func(r row) bool { return r.name == n.Remote })
		if n.Remote == "" || listed {
			continue
		}
		r := row{name: n.Remote, entitlement: trustedEntitlement, where: trusted, says: saysShim}
		if !n.Checkin {
			r.entitlement, r.says, r.version = "", saysXPC, 1
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
			if name, since, ok := strings.Cut(f, "@"); ok { // since a version of iOS
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
	if r.says == saysXPC || r.says == saysPlain || r.says == saysShim && g.shimProperties {
		s.UsesRemoteXPC = r.says == saysXPC
		d = append(d, xpc.Pair{Key: "UsesRemoteXPC", Value: s.UsesRemoteXPC})
	}
	if r.says == saysNothing {
		d = append(d, xpc.Pair{Key: "version", Value: int64(1)}) // dtservicehub alone
	}
	s.Properties = d
	return s
}
