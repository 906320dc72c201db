// Package kube reads requests to the Kubernetes API: what they do to what, and how careful one has to be
// with them. It starts no goroutine and does no I/O.
package kube

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Limits of what is looked at. A request beyond them is refused.
const (
	MaxPath  = 4 << 10 // bytes of an escaped path
	MaxQuery = 64 << 10
)

// A Request is one request, as the API server will understand it.
type Request struct {
	Method string
	Path   string // decoded
	Query  url.Values

	// Verb is one of get, list, watch, create, update, patch, delete and deletecollection, or "" for what no
	// API object is asked with.
	Verb        string
	Group       string // "" is the core group
	Version     string
	Resource    string // "": not about an API object, see Path
	Subresource string
	Namespace   string
	Name        string

	FieldSelector string
	LabelSelector string
	DryRun        bool // the server is asked to change nothing

	Command   []string // argv of an exec
	Container string   // of an exec, attach or log
	reads     bool     // the command of an exec reads what to do from its input, or may

	Classes []string // read write destructive privilege exfiltration persistence interpreter network
	Opaque  bool     // it cannot be known what this does
	Why     []string // why it is opaque, or why it has its classes
}

// Parse reads a request line. It follows the API server's own reading (k8s.io/apiserver, RequestInfoFactory);
// what the server and somebody between might read differently is an error, which names what.
func Parse(method string, u *url.URL) (*Request, error) {
	if err := canonical(u); err != nil {
		return nil, err
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("the query cannot be read: %w", err)
	}
	r := &Request{Method: method, Path: u.Path, Query: q, DryRun: dryRun(q)}
	if err := r.locate(); err != nil {
		return nil, err
	}
	r.inContainer()
	r.classify()
	return r, nil
}

// canonical refuses paths of which there are two readings.
func canonical(u *url.URL) error {
	escaped := u.EscapedPath()
	switch {
	case len(escaped) > MaxPath:
		return fmt.Errorf("the path is longer than %d bytes", MaxPath)
	case len(u.RawQuery) > MaxQuery:
		return fmt.Errorf("the query is longer than %d bytes", MaxQuery)
	case u.Opaque != "" || u.User != nil || !strings.HasPrefix(u.Path, "/"):
		return errors.New("the path does not begin with a slash")
	}
	if i := strings.IndexFunc(u.Path, func(c rune) bool { return c < ' ' || c == 0x7f || c == '\\' }); i >= 0 {
		return errors.New("the path holds control characters or a backslash")
	}
	lower := strings.ToLower(escaped)
	if strings.Contains(lower, "%2f") || strings.Contains(lower, "%25") {
		return errors.New("the path holds an escaped slash or percent sign")
	}
	if u.Path == "/" {
		return nil
	}
	for part := range strings.SplitSeq(strings.TrimSuffix(u.Path[1:], "/"), "/") {
		if part == "" || part == "." || part == ".." {
			return errors.New("the path holds an empty, \".\" or \"..\" segment")
		}
	}
	return nil
}

var verbs = map[string]string{
	"POST": "create", "GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete",
}

// locate finds what the request is about.
func (r *Request) locate() error {
	parts := strings.Split(strings.Trim(r.Path, "/"), "/")
	if len(parts) < 3 || parts[0] != "api" && parts[0] != "apis" {
		return nil
	}
	grouped := parts[0] == "apis"
	parts = parts[1:]
	if grouped {
		if len(parts) < 3 {
			return nil
		}
		r.Group, parts = parts[0], parts[1:]
	}
	r.Version, parts = parts[0], parts[1:]
	r.Verb = verbs[r.Method]
	if parts[0] == "watch" || parts[0] == "proxy" {
		if len(parts) < 2 {
			return fmt.Errorf("%q needs to be followed by a resource", parts[0])
		}
		r.Verb, parts = parts[0], parts[1:]
	}
	r.object(parts)
	return r.collection()
}

// object takes namespace, resource, name and subresource from parts.
func (r *Request) object(parts []string) {
	if parts[0] == "namespaces" && len(parts) > 1 {
		r.Namespace = parts[1]
		if len(parts) > 2 && parts[2] != "status" && parts[2] != "finalize" {
			parts = parts[2:]
		}
	}
	r.Resource = parts[0]
	if len(parts) > 1 {
		r.Name = parts[1]
	}
	if len(parts) > 2 && r.Verb != "proxy" {
		r.Subresource = parts[2]
	}
}

// collection tells what is asked of one object from what is asked of many.
func (r *Request) collection() error {
	r.FieldSelector, r.LabelSelector = r.Query.Get("fieldSelector"), r.Query.Get("labelSelector")
	if strings.Contains(r.FieldSelector, `\`) {
		return errors.New("the field selector holds a backslash")
	}
	if r.Name == "" && r.Verb == "get" {
		r.Verb = "list"
		if isTrue(r.Query, "watch") {
			r.Verb = "watch"
		}
		r.Name = exactName(r.FieldSelector)
	}
	if r.Name == "" && r.Verb == "delete" {
		r.Verb = "deletecollection"
	}
	return nil
}

// isTrue reads a flag as the API machinery does: present is true, unless it is "false" or "0".
func isTrue(q url.Values, key string) bool {
	v, ok := q[key]
	return ok && len(v) > 0 && v[0] != "0" && !strings.EqualFold(v[0], "false")
}

// exactName is the one name that a field selector lets through, or "".
func exactName(selector string) string {
	for term := range strings.SplitSeq(selector, ",") {
		for _, op := range []string{"metadata.name==", "metadata.name="} {
			if name, ok := strings.CutPrefix(term, op); ok {
				if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/%\\") {
					return ""
				}
				return name
			}
		}
	}
	return ""
}

// dryRun is true when everything that is asked for is a dry run.
func dryRun(q url.Values) bool {
	v := q["dryRun"]
	for _, s := range v {
		if s != "All" {
			return false
		}
	}
	return len(v) > 0
}

// Action is the request's action in the policies' schema.
func (r *Request) Action() string {
	switch r.Subresource {
	case "exec", "attach", "portforward", "proxy":
		return "kube:" + r.Subresource
	}
	switch {
	case r.Verb == "proxy":
		return "kube:proxy"
	case r.Discovery(), r.review():
		return "kube:get"
	case r.Resource == "" || r.Verb == "":
		return "kube:other"
	}
	return "kube:" + r.Verb
}

// Text is the request in one line, as approvers see it and as retries are compared: the method, the path and
// the query as they are sent.
func (r *Request) Text() string {
	u := url.URL{Path: r.Path, RawQuery: r.Query.Encode()}
	return r.Method + " " + u.String()
}

// Context is what policies know of the request.
func (r *Request) Context() map[string]any {
	c := map[string]any{
		"method": r.Method, "path": r.Path, "dryRun": r.DryRun,
		"classes": nonNil(r.Classes), "opaque": r.Opaque, "why": nonNil(r.Why),
	}
	for key, v := range map[string]string{
		"resource": r.Resource, "subresource": r.Subresource, "namespace": r.Namespace, "name": r.Name,
	} {
		if v != "" {
			c[key] = v
		}
	}
	if r.Resource != "" {
		c["group"] = r.Group
	}
	if r.Subresource == "exec" || r.Subresource == "attach" {
		c["guard"] = r.Guard()
	}
	return c
}

func nonNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
