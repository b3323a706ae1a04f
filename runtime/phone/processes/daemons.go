package processes

// prelaunched are the apps that a phone runs when somebody first looks.
var prelaunched = []string{"com.apple.mobilesafari", "com.apple.MobileSMS", "com.example.notes"}

// daemons is what runs on every phone; the first two are PID 0 and 1.
var daemons = []program{
	{"/kernel", "root", ""},
	{"/sbin/launchd", "root", ""},
	{"/usr/libexec/logd", "root", ""},
	{"/usr/libexec/UserEventAgent", "root", ""},
	{"/usr/libexec/configd", "root", ""},
	{"/usr/libexec/powerd", "root", ""},
	{"/usr/libexec/keybagd", "root", ""},
	{"/usr/libexec/lockdownd", "root", ""},
	{"/usr/libexec/usbmuxd", "root", ""},
	{"/usr/libexec/thermalmonitord", "root", ""},
	{"/usr/libexec/runningboardd", "root", ""},
	{"/usr/libexec/watchdogd", "root", ""},
	{"/usr/libexec/amfid", "_amfid", ""},
	{"/usr/libexec/trustd", "_trustd", ""},
	{"/usr/libexec/securityd", "_securityd", ""},
	{"/usr/libexec/notifyd", "root", ""},
	{"/usr/sbin/cfprefsd", "mobile", ""},
	{"/usr/sbin/distnoted", "mobile", ""},
	{"/usr/sbin/mDNSResponder", "_mdnsresponder", ""},
	{"/usr/sbin/mediaserverd", "mobile", ""},
	{"/usr/sbin/bluetoothd", "mobile", ""},
	{"/usr/sbin/wifid", "root", ""},
	{"/usr/sbin/wirelessproxd", "mobile", ""},
	{"/usr/libexec/locationd", "_locationd", ""},
	{"/usr/libexec/nfcd", "mobile", ""},
	{"/usr/libexec/symptomsd", "_networkd", ""},
	{"/usr/libexec/nsurlsessiond", "mobile", ""},
	{"/usr/libexec/networkserviceproxy", "_networkd", ""},
	{"/usr/libexec/coreduetd", "root", ""},
	{"/usr/libexec/duetexpertd", "mobile", ""},
	{"/usr/libexec/dasd", "mobile", ""},
	{"/usr/libexec/backboardd", "mobile", ""},
	{"/System/Library/CoreServices/SpringBoard.app/SpringBoard", "mobile", "com.apple.springboard"},
	{
		"/System/Library/PrivateFrameworks/CoreTelephony.framework/Support/CommCenter", "_wireless",
		"",
	},
	{"/System/Library/PrivateFrameworks/ApplePushService.framework/apsd", "mobile", ""},
	{"/System/Library/PrivateFrameworks/AppStoreDaemon.framework/Support/appstored", "mobile", ""},
	{"/System/Library/PrivateFrameworks/AssistantServices.framework/assistantd", "mobile", ""},
	{"/System/Library/PrivateFrameworks/IMCore.framework/imagent.app/imagent", "mobile", ""},
	{
		"/System/Library/PrivateFrameworks/IDS.framework/identityservicesd.app/identityservicesd",
		"mobile", "",
	},
	{
		"/System/Library/PrivateFrameworks/MobileInstallation.framework/XPCServices/com.apple.MobileInstallationHelperService",
		"root", "",
	},
	{"/System/Library/PrivateFrameworks/CloudKitDaemon.framework/Support/cloudd", "mobile", ""},
	{"/System/Library/Frameworks/Accounts.framework/accountsd", "mobile", ""},
	{"/System/Library/PrivateFrameworks/CoreSuggestions.framework/suggestd", "mobile", ""},
	{
		"/System/Library/PrivateFrameworks/PhotoLibraryServices.framework/Support/photolibraryd",
		"mobile", "",
	},
	{"/System/Library/PrivateFrameworks/MediaAnalysis.framework/mediaanalysisd", "mobile", ""},
	{
		"/System/Library/PrivateFrameworks/OSAnalytics.framework/Support/osanalyticshelper", "root",
		"",
	},
	{"/System/Library/CoreServices/ReportCrash", "root", ""},
	{"/usr/libexec/installd", "_installd", ""},
	{"/usr/libexec/lsd", "mobile", ""},
	{"/usr/libexec/containermanagerd", "mobile", ""},
	{"/usr/libexec/mobileassetd", "mobile", ""},
	{"/usr/libexec/mobileactivationd", "mobile", ""},
	{"/usr/libexec/misagent", "root", ""},
	{"/usr/libexec/remoted", "root", ""},
	{"/usr/libexec/sharingd", "mobile", ""},
	{"/usr/libexec/rapportd", "mobile", ""},
	{"/usr/libexec/tccd", "mobile", ""},
	{"/usr/libexec/searchd", "mobile", ""},
	{"/usr/libexec/timed", "_timed", ""},
	{"/usr/libexec/routined", "mobile", ""},
	{"/usr/libexec/healthd", "mobile", ""},
	{"/usr/libexec/fseventsd", "root", ""},
	{"/usr/libexec/contextstored", "mobile", ""},
	{"/usr/libexec/findmydeviced", "mobile", ""},
}

// DaemonPaths lists the executables that run on every phone, the kernel first.
func DaemonPaths() []string {
	out := make([]string, len(daemons))
	for i, d := range daemons {
		out[i] = d.path
	}
	return out
}
