package nskeyed

// Capabilities is an XCTCapabilities: the capabilities of one side of a test session by
// name, each with a version or true.
type Capabilities Dict

const (
	keyCapabilities = "capabilities-dictionary"
	keyComponents   = "c" // NSArray of strings
	keyOptions      = "o" // inline integer
	keyIdentifiers  = "identifiers"
)

// ArchiveObject returns the capabilities as an object.
func (c Capabilities) ArchiveObject() (*Object, error) {
	return &Object{
		Classes: []string{"XCTCapabilities"},
		Fields:  []Field{{Key: keyCapabilities, Value: Dict(c)}},
	}, nil
}

// The options of a TestIdentifier. Suites have other values as well.
const (
	TestOptionLeaf      = 2 // a class and its method
	TestOptionContainer = 3 // a complete class
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

// ArchiveObject returns the set as an object. Runners require a mutable array as the
// collection in it.
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

// XCTest returns the classes of test sessions. An object without a field of its class
// is decoded as an Object.
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
		t.Components[i], ok = v.(string)
		if !ok {
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
		s[i], ok = v.(TestIdentifier)
		if !ok {
			return o, nil
		}
	}
	return s, nil
}

// NewTestConfiguration returns an XCTestConfiguration for a user interface test, with
// Xcode's values. The values that depend on the test are nil. At least testBundleURL (a
// URL), sessionIdentifier (a UUID), productModuleName and IDECapabilities
// (Capabilities) must be set.
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
