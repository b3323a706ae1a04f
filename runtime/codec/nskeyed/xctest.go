package nskeyed

// Capabilities is an XCTCapabilities: what a side of a test session can do, by
// name, with a version or true.
type Capabilities Dict

const (
	keyCapabilities = "capabilities-dictionary"
	keyComponents   = "c" // NSArray of strings
	keyOptions      = "o" // integer in place
	keyIdentifiers  = "identifiers"
)

// ArchiveObject returns the capabilities as an object.
func (c Capabilities) ArchiveObject() (*Object, error) {
	return &Object{
		Classes: []string{"XCTCapabilities"},
		Fields:  []Field{{Key: keyCapabilities, Value: Dict(c)}},
	}, nil
}

// Options of a TestIdentifier. Suites carry other values as well.
const (
	TestOptionLeaf      = 2 // a class and its method
	TestOptionContainer = 3 // a class as a whole
)

// TestIdentifier is an XCTTestIdentifier: a test by its class and method.
type TestIdentifier struct {
	Components []string
	Options    int64
}

// ArchiveObject returns the identifier as an object.
func (t TestIdentifier) ArchiveObject() (*Object, error) {
	return &Object{Classes: []string{"XCTTestIdentifier"}, Fields: []Field{
		{keyComponents, t.Components, false}, {keyOptions, t.Options, true},
	}}, nil
}

// TestIdentifierSet is an XCTTestIdentifierSet.
type TestIdentifierSet []TestIdentifier

// ArchiveObject returns the set as an object. Runners take no other collection
// in it than a mutable array.
func (s TestIdentifierSet) ArchiveObject() (*Object, error) {
	list := make([]any, len(s))
	for i, t := range s {
		list[i] = t
	}
	return &Object{
		Classes: []string{"XCTTestIdentifierSet"},
		Fields:  []Field{{Key: keyIdentifiers, Value: Mutable{list}}},
	}, nil
}

// XCTest returns the classes of test sessions. Objects that lack a field of
// their class stay objects.
func XCTest() []Class {
	return []Class{
		{"XCTCapabilities", func(o *Object) (any, error) {
			if d, ok := o.Dict().Dict(keyCapabilities); ok {
				return Capabilities(d), nil
			}
			return o, nil
		}},
		{"XCTTestIdentifier", decodeTestIdentifier},
		{"XCTTestIdentifierSet", decodeTestIdentifierSet},
	}
}

func decodeTestIdentifier(o *Object) (any, error) {
	list, ok := o.Dict().Array(keyComponents)
	options, both := o.Dict().Int(keyOptions)
	if !ok || !both {
		return o, nil
	}
	t := TestIdentifier{Components: make([]string, len(list)), Options: options}
	for i, v := range list {
		if t.Components[i], ok = v.(string); !ok {
			return o, nil
		}
	}
	return t, nil
}

func decodeTestIdentifierSet(o *Object) (any, error) {
	list, ok := o.Dict().Array(keyIdentifiers)
	if !ok {
		return o, nil
	}
	s := make(TestIdentifierSet, len(list))
	for i, v := range list {
		if s[i], ok = v.(TestIdentifier); !ok {
			return o, nil
		}
	}
	return s, nil
}

// NewTestConfiguration returns an XCTestConfiguration for a user interface test,
// as Xcode fills it. What depends on the test is nil: set testBundleURL (a URL),
// sessionIdentifier (a UUID), productModuleName and IDECapabilities
// (Capabilities) at least.
func NewTestConfiguration() *Object {
	o := &Object{Classes: []string{"XCTestConfiguration"}}
	ref := func(v any, keys ...string) {
		for _, k := range keys {
			o.Fields = append(o.Fields, Field{Key: k, Value: v})
		}
	}
	inline := func(v any, keys ...string) {
		for _, k := range keys {
			o.Fields = append(o.Fields, Field{Key: k, Value: v, Inline: true})
		}
	}
	ref(nil, "testBundleURL", "sessionIdentifier", "productModuleName", "IDECapabilities")
	ref("/Developer/Library/PrivateFrameworks/XCTAutomationSupport.framework",
		"automationFrameworkPath")
	ref(nil, "targetApplicationBundleID", "targetApplicationPath", "targetApplicationEnvironment")
	ref([]any{}, "targetApplicationArguments")
	ref(nil, "testsToRun", "testsToSkip", "testIdentifiersToRun", "testIdentifiersToSkip")
	ref(Dict{{"XCSuiteRecordsKey", Dict{}}}, "aggregateStatisticsBeforeCrash")
	ref(Dict{}, "testApplicationDependencies")
	ref(nil, "testApplicationUserOverrides", "testBundleRelativePath", "baselineFileURL",
		"baselineFileRelativePath",
		"randomExecutionOrderingSeed", "defaultTestExecutionTimeAllowance",
		"maximumTestExecutionTimeAllowance",
		"performanceTestConfiguration", "traceCollectionEnabled_v2")
	ref(int64(2), "formatVersion")
	inline(true, "initializeForUITesting", "reportResultsToIDE", "reportActivities",
		"testsMustRunOnMainThread")
	inline(false, "disablePerformanceMetrics", "emitOSLogs", "gatherLocalizableStringsData",
		"testsDrivenByIDE",
		"testTimeoutsEnabled", "treatMissingBaselinesAsFailures")
	inline(int64(0), "testExecutionOrdering", "userAttachmentLifetime")
	inline(int64(2), "systemAttachmentLifetime", "preferredScreenCaptureFormat")
	return o
}
