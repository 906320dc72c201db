// Package kube writes down how Kubernetes itself reads requests, for filters/kube to be held to.
package kube

import (
	"bytes"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"
)

var factory = &request.RequestInfoFactory{
	APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api"),
}

var paths = []string{
	"/api/v1", "/api/v1/", "/apis/apps/v1", "/api/v1/pods", "/api/v1/namespaces", "/api/v1/namespaces/a", "/api/v1/namespaces/a/",
	"/api/v1/namespaces/a/pods", "/api/v1/namespaces/a/pods/", "/api/v1/namespaces/a/pods/b", "/api/v1/namespaces/a/pods/b/log",
	"/api/v1/namespaces/a/pods/b/exec/c/d", "/api/v1/namespaces/a/status", "/api/v1/namespaces/a/finalize", "/api/v1/namespaces/a/finalize/x",
	"/api/v1/watch/pods", "/api/v1/watch", "/api/v1/watch/namespaces/a/pods/b", "/api/v1/proxy/namespaces/a/pods/b/x", "/api/v1/proxy",
	"/apis/apps/v1/namespaces/a/deployments/b/scale", "/apis/apps/v1/watch/deployments", "/apis/x", "/apis/x/v1", "/apis/x/v1/y", "/healthz",
	"/api/v1/nodes/n/proxy/stats/summary", "/api/v1/namespaces/namespaces/namespaces", "/apis/namespaces/namespaces/namespaces/namespaces/namespaces",
	"/apisx/v1/pods", "/api", "/", "/version", "/api/v1/pods/a%20b", "/api/v1/pods/%C3%A4",
}

var queries = []string{
	"", "?watch", "?watch=", "?watch=1", "?watch=0", "?watch=false", "?watch=False", "?watch=FALSE", "?watch=no", "?watch=true&watch=false", "?watch=false&watch=true",
	"?fieldSelector=metadata.name%3Da", "?fieldSelector=metadata.name%3D%3Da", "?fieldSelector=metadata.name!%3Da", "?fieldSelector=spec.x%3Dy,metadata.name%3Db",
	"?fieldSelector=metadata.name%3D", "?fieldSelector=metadata.name%3Da%2Fb", "?fieldSelector=metadata.name%3D..", "?fieldSelector=metadata.name%3Da,metadata.name%3Db",
	"?fieldSelector=%3D", "?fieldSelector=metadata.name%3Da&watch=true", "?limit=abc&watch=1", "?limit=abc", "?fieldSelector=metadata.name%3Da%5C%2Cb",
	"?resourceVersion=1&timeoutSeconds=x&watch=1", "?labelSelector=a%3Db", "?fieldSelector=a&watch=1",
}

// methods are tried with every path; all but GET with the first queries alone.
var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "get", "CONNECT"}

var update = flag.Bool("update", false, "write the table anew")

const table = "../../filters/kube/testdata/requestinfo.tsv"

// TestTable: the table that filters/kube is tested with is what this version of Kubernetes says.
func TestTable(t *testing.T) {
	var b bytes.Buffer
	for i, method := range methods {
		for _, p := range paths {
			for j, q := range queries {
				if i == 0 || j < 2 {
					fmt.Fprintln(&b, line(method, p+q))
				}
			}
		}
	}
	if *update {
		if err := os.WriteFile(table, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if have, err := os.ReadFile(table); err != nil || !bytes.Equal(have, b.Bytes()) {
		t.Errorf("%s is not what Kubernetes says (%v): go test ./... -update", table, err)
	}
}

// line is method, target and how the server reads them: verb, group, version, resource, subresource, namespace, name.
func line(method, target string) string {
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return method + "\t" + target + "\tinvalid"
	}
	r, err := factory.NewRequestInfo(&http.Request{Method: method, URL: u})
	switch {
	case err != nil:
		return method + "\t" + target + "\trefused"
	case !r.IsResourceRequest:
		return method + "\t" + target + "\tno object"
	}
	return strings.Join([]string{method, target, "object", r.Verb, r.APIGroup, r.APIVersion, r.Resource, r.Subresource, r.Namespace, r.Name}, "\t")
}
