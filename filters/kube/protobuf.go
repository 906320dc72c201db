package kube

import (
	"encoding/json"
	"errors"
	"fmt"

	"k8s.io/client-go/kubernetes/scheme"
)

// protobufType is the media type of objects in Kubernetes' own binary form, which clients use for built-in types.
const protobufType = "application/vnd.kubernetes.protobuf"

// decodeProtobuf reads an object of a built-in type, as JSON would say it.
func decodeProtobuf(body []byte) (doc any, err error) {
	defer func() {
		if r := recover(); r != nil { // generated code, fed by strangers
			doc, err = nil, errors.New("it is not an object")
		}
	}()
	text, err := jsonOf(body)
	if err != nil {
		return nil, err
	}
	return decodeJSON(text)
}

func jsonOf(body []byte) ([]byte, error) {
	object, kind, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
	if err != nil {
		return nil, errors.New("it is no object of a type that is known here") // not err: it may quote the body
	}
	object.GetObjectKind().SetGroupVersionKind(*kind)
	text, err := json.Marshal(object)
	if err != nil {
		return nil, fmt.Errorf("it cannot be written as JSON")
	}
	return text, nil
}

// Readable is a body as an approver can read it: what is text as it is sent, an object in binary form as JSON.
func Readable(contentType string, body []byte) string {
	if mediaType(contentType) != protobufType {
		return string(body)
	}
	text, err := jsonOf(body)
	if err != nil {
		return fmt.Sprintf("(%d bytes that cannot be read: %v)", len(body), err)
	}
	return string(text)
}
