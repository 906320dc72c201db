package console

import "net/http"

// policy confines every page. Scripts and styles come from /static alone; the player's terminal is
// WebAssembly, which 'wasm-unsafe-eval' permits without permitting eval; it sets sizes and positions
// through the object model, which style-src does not touch, so no inline style is needed anywhere.
const policy = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'; " +
	"connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// confine sets the headers that every answer carries. What must differ (cached assets) overrides.
// Referrer-Policy is same-origin and not no-referrer: under the latter, browsers send Origin: null
// with our own forms.
func confine(h http.Header, secure bool) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=(), clipboard-read=(), usb=(), serial=()")
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Cookie")
	if secure {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}
