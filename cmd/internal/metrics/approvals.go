package metrics

// approvals makes the figures of policies and of those who are told of what waits.
func (m *Metrics) approvals() {
	m.policies = m.gauge("policies", "Policies that are in force.")
	m.refused = m.gauge("policies_refused", "1 while the newest change of the policies does not load and the old ones stay in force, else 0.")
	m.hooksGone = m.counterVec("webhook_dropped_total", "Messages about held operations that a webhook's receiver refused, or that were given up.", nil, "webhook")
}

// Policies says how many are in force, and whether a newer set was refused.
func (m *Metrics) Policies(inForce int, refused bool) {
	if m == nil {
		return
	}
	m.policies.Set(float64(inForce))
	m.refused.Set(0)
	if refused {
		m.refused.Set(1)
	}
}

// Webhook makes the series of a webhook, which its configuration names.
func (m *Metrics) Webhook(name string) { m.count(name, 0) }

// WebhookDropped counts a message that was given up.
func (m *Metrics) WebhookDropped(name string) { m.count(name, 1) }

func (m *Metrics) count(name string, n float64) {
	if m != nil {
		m.hooksGone.WithLabelValues(name).Add(n)
	}
}
