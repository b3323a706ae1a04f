package log

// Libraries that log.
const (
	imgCoreFoundation = "/System/Library/Frameworks/CoreFoundation.framework/CoreFoundation"
	imgUIKit          = "/System/Library/PrivateFrameworks/UIKitCore.framework/UIKitCore"
	imgFrontBoard     = "/System/Library/PrivateFrameworks/FrontBoard.framework/FrontBoard"
	imgCFNetwork      = "/System/Library/Frameworks/CFNetwork.framework/CFNetwork"
	imgNetwork        = "/System/Library/Frameworks/Network.framework/Network"
	imgSecurity       = "/System/Library/Frameworks/Security.framework/Security"
	imgCoreLocation   = "/System/Library/Frameworks/CoreLocation.framework/CoreLocation"
	imgRunningBoard   = "/System/Library/PrivateFrameworks/RunningBoard.framework/RunningBoard"
	imgBluetooth      = "/System/Library/PrivateFrameworks/CoreUtils.framework/CoreUtils"
	imgTCC            = "/System/Library/PrivateFrameworks/TCC.framework/TCC"
	imgSQLite         = "/usr/lib/libsqlite3.dylib"
	imgXPC            = "/usr/lib/system/libxpc.dylib"
	imgIOKit          = "/System/Library/Frameworks/IOKit.framework/Versions/A/IOKit"
)

// templates is what the phone says while nobody asks it anything.
var templates = []template{
	{
		"SpringBoard", "", "com.apple.SpringBoard", "Common", LevelDefault,
		"Lock state changed reporter {x}: unlocked",
	},
	{
		"SpringBoard", imgUIKit, "com.apple.UIKit", "EventDispatch", LevelDebug,
		"Evaluating dispatch of UIEvent: {X}; type: 0; subtype: 0",
	},
	{
		"SpringBoard", imgFrontBoard, "com.apple.FrontBoard", "Scene", LevelDefault,
		"[sceneID:{app}-default] Setting deactivation reasons to: 'systemAnimation'",
	},
	{
		"SpringBoard", imgFrontBoard, "com.apple.FrontBoard", "Process", LevelInfo,
		"[app<{app}>] Now flagged as pending exit for reason: idle",
	},
	{
		"backboardd", "", "com.apple.BackBoard", "TouchEvents", LevelDebug,
		"contact {n} presence: touching at density {p}",
	},
	{
		"backboardd", imgIOKit, "com.apple.BackBoard", "Backlight", LevelDefault,
		"brightness change: {p} reason: AutoBrightness",
	},
	{
		"runningboardd", imgRunningBoard, "com.apple.runningboard", "assertion", LevelDefault,
		"Acquiring assertion targeting [app<{app}>:{n}] from originator [daemon<com.apple.dasd>:{n}] with description <RBSAssertionDescriptor| \"App drawn by SpringBoard\" ID:{n}>",
	},
	{
		"runningboardd", imgRunningBoard, "com.apple.runningboard", "process", LevelInfo,
		"[app<{app}>:{n}] Set jetsam priority to {p} [0] flag[1]",
	},
	{
		"runningboardd", imgRunningBoard, "com.apple.runningboard", "ttl", LevelDebug,
		"Calculated state for app<{app}>: running-active (role: UserInteractive)",
	},
	{
		"locationd", imgCoreLocation, "com.apple.locationd.Core", "Client", LevelDefault,
		"{\"msg\":\"client authorization\", \"clientKey\":\"{app}\", \"registrationResult\":3}",
	},
	{
		"locationd", "", "com.apple.locationd.Motion", "Algorithms", LevelDebug,
		"stepCountDelta {n}, cadence 0.{p}",
	},
	{
		"locationd", "", "com.apple.locationd.Position", "WifiPosition", LevelInfo,
		"@WifiFlow, scan results, {n} access points, age {p} ms",
	},
	{
		"wifid", "", "com.apple.WiFiManager", "lqm", LevelDefault,
		"WiFiLQAMgrLogStats(en0): rssi=-{p} snr={p} txRate={n}",
	},
	{"wifid", imgIOKit, "com.apple.WiFiManager", "scan", LevelDebug, "dwell {n} ms on channel {p}"},
	{
		"wifid", "", "com.apple.WiFiManager", "join", LevelError,
		"__WiFiDeviceManagerAutoAssociate: {n} candidates, none eligible",
	},
	{
		"bluetoothd", imgBluetooth, "com.apple.bluetooth", "Server.LE", LevelInfo,
		"LE scan started with duty cycle {p}%",
	},
	{
		"bluetoothd", "", "com.apple.bluetooth", "Server.A2DP", LevelDefault,
		"A2DP link quality {p} on handle {x}",
	},
	{
		"mDNSResponder", "", "com.apple.mDNSResponder", "Default", LevelDefault,
		"[R{n}] DNSServiceQueryRecord START -- qname: <mask.hash>, qtype: AAAA, flags: {x}",
	},
	{
		"mDNSResponder", "", "com.apple.mDNSResponder", "Default", LevelInfo,
		"[Q{n}] Sent 34-byte query #1 to <private> over UDP via en0/14",
	},
	{
		"nsurlsessiond", imgCFNetwork, "com.apple.CFNetwork", "Default", LevelDefault,
		"Task <{u}>.<{n}> finished successfully",
	},
	{
		"nsurlsessiond", imgCFNetwork, "com.apple.CFNetwork", "Default", LevelError,
		"Task <{u}>.<{n}> HTTP load failed, 0/0 bytes (error code: -1001 [4:-2102])",
	},
	{
		"apsd", imgNetwork, "com.apple.network", "connection", LevelDefault,
		"[C{n} Hostname#{x}:5223 tcp] event: path:satisfied_change @{n}.{p}s",
	},
	{
		"apsd", "", "com.apple.apsd", "courier", LevelInfo,
		"Keep alive sent on interface WiFi, interval {n}",
	},
	{
		"CommCenter", "", "com.apple.CommCenter", "ct.server", LevelInfo,
		"#I handling request {n} from {app}",
	},
	{
		"CommCenter", "", "com.apple.telephony.bb", "registration", LevelDefault,
		"#N Signal strength changed: bars 3, rsrp -{p}",
	},
	{
		"identityservicesd", "", "com.apple.IDS", "Registration", LevelDefault,
		"Evaluated registration state: registered, next heartbeat in {n}s",
	},
	{
		"cloudd", imgSQLite, "com.apple.cloudkit", "CK", LevelDebug,
		"cached statement {x} reused {n} times",
	},
	{
		"cloudd", "", "com.apple.cloudkit", "LogFacilityOP", LevelInfo,
		"Operation {X} completed in 0.{p}s",
	},
	{
		"dasd", "", "com.apple.duetactivityscheduler", "scoring", LevelDefault,
		"'{app}.refresh' CurrentScore: 0.{p}, ThresholdScore: 0.7 DecisionToRun:0",
	},
	{
		"dasd", "", "com.apple.duetactivityscheduler", "lifecycle", LevelInfo,
		"SUBMITTING: {app}.refresh:{x}",
	},
	{
		"symptomsd", "", "com.apple.symptomsd", "netepochs", LevelDebug,
		"flow count {n}, primary interface en0",
	},
	{
		"powerd", imgIOKit, "com.apple.powerd", "assertions", LevelDefault,
		"Process runningboardd.{n} Created SystemIsActive \"app<{app}>\" age:00:00:00 id:{X}",
	},
	{
		"powerd", "", "com.apple.powerd", "battery", LevelInfo,
		"Received power files.Source notification: capacity {p}",
	},
	{
		"thermalmonitord", "", "com.apple.ThermalMonitor", "default", LevelDebug,
		"CLTM die temp {p}.{p}, pressure level 0",
	},
	{
		"securityd", imgSecurity, "com.apple.securityd", "item", LevelInfo,
		"copy_matching returned {n} rows for agrp {app}",
	},
	{
		"trustd", imgSecurity, "com.apple.securityd", "policy", LevelError,
		"cert[2]: AnchorTrusted =(leaf)[force]> 0",
	},
	{
		"tccd", imgTCC, "com.apple.TCC", "access", LevelDefault,
		"AUTHREQ_RESULT: msgID={n}.{n}, authValue=2, authReason=4, service=kTCCServicePhotos, client={app}",
	},
	{"kernel", "", "", "", LevelDefault, "wlan0: AppleBCMWLANCore::setPowerSave ps mode {n}"},
	{"kernel", "", "", "", LevelDefault, "memorystatus: freed {n} pages, compressor at {p}%"},
	{
		"kernel", "", "", "", LevelError,
		"Sandbox: {app} deny(1) file-read-metadata /private/var/db/{x}",
	},
	{
		"launchd", "", "com.apple.xpc.launchd", "spawn", LevelDefault,
		"service state: spawn scheduled com.apple.xpc.{x}",
	},
	{
		"launchd", imgXPC, "", "", LevelInfo,
		"[gui/501/com.apple.helper.{n}] internal event: WILL_SPAWN, code = 0",
	},
	{
		"photolibraryd", imgSQLite, "com.apple.photos.backend", "Library", LevelDebug,
		"checkpointed {n} frames",
	},
	{
		"mediaserverd", "", "com.apple.coreaudio", "vadv", LevelError,
		"HALS_IOContext::StartIOThread: context {n} took {p} ms",
	},
	{
		"duetexpertd", "", "com.apple.duetexpertd", "atx", LevelFault,
		"Score {x} out of bounds for {app}",
	},
	{
		"cfprefsd", imgCoreFoundation, "com.apple.defaults", "User Defaults", LevelDebug,
		"Process {n} read {app} in container <private>",
	},
	{
		"NotesDemo", "", "com.example.notes", "sync", LevelDefault,
		"synchronised {n} notes in {n} ms",
	},
	{"NotesDemo", "", "com.example.notes", "ui", LevelDebug, "list reloaded, {n} rows"},
	{
		"NotesDemo", imgCFNetwork, "com.apple.CFNetwork", "Summary", LevelInfo,
		"Task <{u}>.<{n}> summary for task success {transaction_duration_ms={n}, response_status=200}",
	},
	{"MobileSafari", "", "com.apple.mobilesafari", "Tabs", LevelInfo, "Tab {u} became visible"},
}
