package config

import "reflect"

// Merge lays part over c: lists are joined, a target or user of a name that c has replaces it, and every
// other key that part sets wins.
func (c *Config) Merge(part *Config) {
	c.Targets = joinNamed(c.Targets, part.Targets, func(t Target) string { return t.Name })
	c.Users = joinNamed(c.Users, part.Users, func(u User) string { return u.Name })
	c.Issuers = joinNamed(c.Issuers, part.Issuers, func(i Issuer) string { return i.URL })
	c.Policies = append(c.Policies, part.Policies...)
	if part.Recordings.Directory != "" {
		c.Recordings.S3 = nil
	}
	if part.Recordings.S3 != nil {
		c.Recordings.Directory = ""
	}
	rest := *part
	rest.Targets, rest.Users, rest.Issuers, rest.Policies = nil, nil, nil, nil
	overlay(reflect.ValueOf(c).Elem(), reflect.ValueOf(&rest).Elem())
}

func joinNamed[T any](have, more []T, name func(T) string) []T {
	out := append([]T(nil), have...)
next:
	for _, m := range more {
		for i := range out {
			if name(out[i]) == name(m) {
				out[i] = m
				continue next
			}
		}
		out = append(out, m)
	}
	return out
}

// overlay copies every field of src that is set to dst, going into structs.
func overlay(dst, src reflect.Value) {
	for i := range src.NumField() {
		switch s := src.Field(i); {
		case s.Kind() == reflect.Struct:
			overlay(dst.Field(i), s)
		case !s.IsZero():
			dst.Field(i).Set(s)
		}
	}
}
