package command

import "strings"

// host notes a host, as a URL or as [user@]host[:port].
func (c *call) host(a arg) {
	if a.is(unknown | lead) {
		c.opaque("the host is known only when " + c.label + " runs: " + a.text)
	}
	c.class |= Network
	if h := hostOf(a.text); h != "" {
		c.f.Hosts = addOnce(c.f.Hosts, h)
	}
}

// hostOf cuts scheme, user, port and path off.
func hostOf(s string) string {
	if i := strings.Index(s, "://"); i >= 0 {
		s = s[i+3:]
	}
	if i := strings.IndexAny(s, "/?#\\"); i >= 0 {
		s = s[:i]
	}
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		s = s[i+1:]
	}
	if strings.HasPrefix(s, "[") {
		s, _, _ = strings.Cut(s[1:], "]")
		return strings.ToLower(s)
	}
	if strings.Count(s, ":") == 1 {
		s, _, _ = strings.Cut(s, ":")
	}
	return strings.ToLower(s)
}

// splitRemote cuts [user@]host:path or a URL as scp and rsync read them.
func splitRemote(s string) (host, path string, ok bool) {
	if strings.Contains(s, "://") {
		h := hostOf(s)
		return h, s, h != ""
	}
	i := strings.IndexByte(s, ':')
	if strings.HasPrefix(s, "[") {
		if j := strings.Index(s, "]:"); j > 0 {
			return s[1:j], s[j+2:], true
		}
	}
	if i <= 0 || strings.Contains(s[:i], "/") {
		return "", s, false
	}
	path = strings.TrimPrefix(s[i+1:], ":")
	return hostOf(s[:i]), path, true
}

// remoteFile notes a word that is host:path, or else a local file. What is sent and what is fetched is for a hook.
func (c *call) remoteFile(a arg) {
	host, _, ok := splitRemote(a.text)
	if !ok {
		c.read(a)
		return
	}
	c.class |= Network
	c.f.Hosts = addOnce(c.f.Hosts, host)
}
