package processes

var userNames = map[int]string{-2: "nobody", 0: "root", 1: "daemon", 24: "_networkd",
	25: "_wireless", 33: "_installd",
	64: "_securityd", 65: "_mdnsresponder", 98: "_trustd", 205: "_locationd", 263: "_analyticsd",
	266: "_timed", 282: "_amfid", 501: "mobile"}

var groupNames = map[int]string{
	-2: "nobody", 0: "wheel", 1: "daemon", 2: "kmem", 20: "staff", 29: "certusers", 80: "admin",
	501: "mobile",
}

// UserName returns the name of a user identifier.
func UserName(uid int) (name string, ok bool) {
	name, ok = userNames[uid]
	return name, ok
}

// GroupName returns the name of a group identifier.
func GroupName(gid int) (name string, ok bool) {
	name, ok = groupNames[gid]
	return name, ok
}

// UserID returns the identifier of a user's name, that of nobody if there is
// no such user.
func UserID(name string) int {
	for id, n := range userNames {
		if n == name {
			return id
		}
	}
	return -2
}
