package apps

// Prohibited reports what hosts may not do with the apps of the phone. A virtual phone takes
// no packages from hosts, so installing is always prohibited. Install does not ask: it is what
// the phone does by itself.
func (t *Apps) Prohibited() (install, remove bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return true, t.keepApps
}

// ProhibitRemoval sets whether hosts may remove apps, as the restrictions of Screen Time and of
// configuration profiles do. A new phone lets them.
func (t *Apps) ProhibitRemoval(on bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.keepApps = on
}

// Removable reports whether hosts can remove an app.
func (t *Apps) Removable(a *App) bool {
	_, prohibited := t.Prohibited()
	return a.spec.Type == User && !prohibited
}
