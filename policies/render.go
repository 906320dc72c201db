package policies

// Render is filled in below.
func Render(text []byte) string { return string(text) }
