package kube

import (
	"slices"
	"strings"
)

// Discovery says whether the path only tells what the server is and offers. Nobody's data is there.
func (r *Request) Discovery() bool {
	if r.Resource != "" || r.Method != "GET" && r.Method != "HEAD" {
		return false
	}
	p := strings.TrimSuffix(r.Path, "/")
	switch first, rest, _ := strings.Cut(strings.TrimPrefix(p, "/"), "/"); first {
	case "", "version":
		return rest == ""
	case "api", "apis", "openapi", "healthz", "livez", "readyz":
		return true
	case "openid":
		return rest == "v1/jwks"
	case ".well-known":
		return rest == "openid-configuration"
	}
	return false
}

// reviews are objects that ask a question when they are created; nothing is stored.
var reviews = map[string]bool{
	"authorization.k8s.io/selfsubjectaccessreviews": true, "authorization.k8s.io/selfsubjectrulesreviews": true,
	"authentication.k8s.io/selfsubjectreviews": true, "authorization.k8s.io/subjectaccessreviews": true,
	"authorization.k8s.io/localsubjectaccessreviews": true,
}

func (r *Request) review() bool {
	return r.Verb == "create" && r.Subresource == "" && reviews[r.Group+"/"+r.Resource]
}

// what a write to, or a reading of, some resources amounts to. Keys are group/resource[/subresource]; a * stands for all.
var careful = map[string]struct{ class, why string }{
	"rbac.authorization.k8s.io/*":        {"privilege", "changes who may do what"},
	"/serviceaccounts/token":             {"privilege", "makes a token for a service account"},
	"/serviceaccounts":                   {"privilege", "changes service accounts"},
	"certificates.k8s.io/*":              {"privilege", "asks for or signs certificates"},
	"admissionregistration.k8s.io/*":     {"privilege", "changes what the server does with every request"},
	"apiregistration.k8s.io/*":           {"privilege", "sends API groups to another server"},
	"apiextensions.k8s.io/*":             {"privilege", "changes resource definitions"},
	"authentication.k8s.io/tokenreviews": {"privilege", "has somebody's token judged"},
	"flowcontrol.apiserver.k8s.io/*":     {"privilege", "changes who is served first"},
	"/pods/ephemeralcontainers":          {"privilege", "puts a container into a running pod"},
	"/pods/binding":                      {"privilege", "places a pod on a node"},
	"/bindings":                          {"privilege", "places a pod on a node"},
	"/nodes":                             {"privilege", "changes a node"},
	"/pods/eviction":                     {"destructive", "evicts a pod"},
	"batch/cronjobs":                     {"persistence", "runs again and again"},
	"apps/daemonsets":                    {"persistence", "runs on every node"},
	"/namespaces/finalize":               {"destructive", "ends a namespace without waiting"},
	"policy/poddisruptionbudgets":        {"privilege", "changes what protects workloads"},
	"networking.k8s.io/networkpolicies":  {"privilege", "changes who may talk to whom"},
	"/secrets":                           {"exfiltration", "holds secrets"},
	"/persistentvolumes":                 {"privilege", "may mount what nodes hold"},
	"/resourcequotas":                    {"privilege", "changes limits"},
	"/limitranges":                       {"privilege", "changes limits"},
	"storage.k8s.io/*":                   {"privilege", "changes storage for the cluster"},
	"scheduling.k8s.io/*":                {"privilege", "changes who goes first"},
	"node.k8s.io/*":                      {"privilege", "changes what runs containers"},
	"resource.k8s.io/deviceclasses":      {"privilege", "changes devices"},
	"internal.apiserver.k8s.io/*":        {"privilege", "changes the server's own state"},
	"storagemigration.k8s.io/*":          {"privilege", "rewrites what is stored"},
}

// classify says how careful one has to be.
func (r *Request) classify() {
	if r.Resource == "" {
		r.classifyPath()
		return
	}
	switch r.Verb {
	case "get", "list", "watch":
		r.add("read", "")
		if r.Group == "" && r.Resource == "secrets" {
			r.add("exfiltration", "reads secrets")
		}
	case "create", "update", "patch":
		if r.review() {
			r.add("read", "")
			break
		}
		r.add("write", "")
		r.carefully()
	case "delete":
		r.add("destructive", "deletes")
		r.carefully()
	case "deletecollection":
		r.add("destructive", "deletes everything that matches")
		r.carefully()
	default:
		r.opaque("what " + quote(r.Method) + " does to an API object is not known")
	}
	r.classifySubresource()
}

// carefully adds what the table says of a write.
func (r *Request) carefully() {
	key := r.Group + "/" + r.Resource
	for _, k := range []string{key + "/" + r.Subresource, key, r.Group + "/*"} {
		if c, ok := careful[k]; ok {
			r.add(c.class, c.why)
			return
		}
	}
}

func (r *Request) classifySubresource() {
	switch r.Subresource {
	case "exec":
		r.classifyCommand()
	case "attach":
		r.add("interpreter", "goes into a container")
	case "portforward":
		r.add("network", "reaches a port of a pod")
	case "proxy":
		r.add("network", "is passed on to a pod, a service or a node")
		r.opaque("what is behind the proxy is not known")
	case "token":
		r.add("privilege", "makes a token for a service account")
	}
	if r.Verb == "proxy" {
		r.add("network", "is passed on to a pod, a service or a node")
		r.opaque("what is behind the proxy is not known")
	}
}

func (r *Request) classifyPath() {
	if r.Discovery() {
		r.add("read", "")
		return
	}
	if r.Method == "GET" || r.Method == "HEAD" {
		r.add("read", "")
	}
	r.opaque("the path is none of the API's objects")
}

func (r *Request) add(class, why string) {
	if !slices.Contains(r.Classes, class) {
		r.Classes = append(r.Classes, class)
	}
	if why != "" && !slices.Contains(r.Why, why) {
		r.Why = append(r.Why, why)
	}
}

func (r *Request) opaque(why string) {
	r.Opaque = true
	if !slices.Contains(r.Why, why) {
		r.Why = append(r.Why, why)
	}
}

// quote shows a method, which a client chose.
func quote(s string) string {
	if len(s) > 16 {
		s = s[:16] + "..."
	}
	return strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return '?'
		}
		return c
	}, s)
}
