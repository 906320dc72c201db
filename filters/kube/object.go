package kube

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// MaxBody is how large the body of a write may be, in bytes: what the API server takes by default
// (k8s.io/apiserver, MaxRequestBodyBytes).
const MaxBody = 3 << 20

// Body reads what a write sends, as far as policies want to know it. A body that cannot be read makes the request
// opaque.
func (r *Request) Body(contentType string, body []byte) {
	if len(body) == 0 || r.review() { // a question stores nothing, whatever it says
		return
	}
	doc, err := decode(contentType, body)
	if err != nil {
		r.opaque("its body cannot be read: " + err.Error())
		return
	}
	w := walker{r: r}
	w.walk(doc, 0)
}

func decode(contentType string, body []byte) (any, error) {
	kind := mediaType(contentType)
	switch {
	case kind == protobufType:
		return decodeProtobuf(body)
	case contentType != "" && kind == "":
		return nil, errors.New("its content type cannot be read")
	case kind == "" || kind == "application/json" || strings.HasSuffix(kind, "+json"):
		return decodeJSON(body)
	case kind == "application/yaml" || strings.HasSuffix(kind, "+yaml"):
		return decodeYAML(body)
	}
	return nil, fmt.Errorf("it is %s", quote(kind))
}

// mediaType is a content type without its parameters, "" if it cannot be read.
func mediaType(contentType string) string {
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return ""
	}
	return kind
}

// decodeYAML reads one document without aliases, which make much of little.
func decodeYAML(body []byte) (any, error) {
	file, err := parser.ParseBytes(body, 0)
	if err != nil || len(file.Docs) == 0 {
		return nil, errors.New("it is not YAML")
	}
	if len(file.Docs) > 1 {
		return nil, errors.New("it holds more than one YAML document")
	}
	var a aliases
	ast.Walk(&a, file.Docs[0].Body)
	if a {
		return nil, errors.New("it uses YAML aliases")
	}
	var doc any
	if err := yaml.NodeToValue(file.Docs[0].Body, &doc); err != nil {
		return nil, errors.New("it is not YAML")
	}
	return doc, nil
}

// aliases becomes true at the first alias.
type aliases bool

// Visit is called by ast.Walk.
func (a *aliases) Visit(n ast.Node) ast.Visitor {
	if n.Type() == ast.AliasType || n.Type() == ast.MergeKeyType {
		*a = true
	}
	return a
}

func decodeJSON(body []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var doc any
	if err := d.Decode(&doc); err != nil {
		return nil, errors.New("it is not JSON")
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("it holds more than one JSON value")
	}
	return doc, nil
}

// A walker looks for what gives a workload power over its node, at any depth: in pods, in templates of pods, in
// lists of either, and in patches of them.
type walker struct{ r *Request }

const maxDepth = 64

func (w walker) walk(v any, depth int) {
	if depth > maxDepth {
		w.r.opaque("its body is nested too deep")
		return
	}
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			w.field(key, value)
			w.walk(value, depth+1)
		}
	case []any:
		for _, value := range v {
			w.walk(value, depth+1)
		}
	}
}

// powers are fields that give a workload power over its node, when they are true.
var powers = map[string]string{
	"privileged": "runs a privileged container", "hostNetwork": "uses the node's network",
	"hostPID": "sees the node's processes", "hostIPC": "sees the node's memory",
	"allowPrivilegeEscalation": "may gain privileges",
}

func (w walker) field(key string, value any) {
	if why, ok := powers[key]; ok && value == true {
		w.r.add("privilege", why)
	}
	switch key {
	case "hostPath":
		w.r.add("privilege", "mounts a path of the node")
	case "capabilities":
		if c, ok := value.(map[string]any); ok && c["add"] != nil {
			w.r.add("privilege", "adds capabilities to a container")
		}
	case "path": // of a JSON patch
		if p, ok := value.(string); ok {
			w.pointer(p)
		}
	}
}

// pointer looks at where a JSON patch writes (RFC 6901).
func (w walker) pointer(p string) {
	parts := strings.Split(p, "/")
	for key, why := range powers {
		if slices.Contains(parts, key) {
			w.r.add("privilege", why)
		}
	}
	if slices.Contains(parts, "hostPath") || slices.Contains(parts, "capabilities") {
		w.r.add("privilege", "changes what a container may do to its node")
	}
}
