package storetest_test

import (
	"testing"

	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/policies/storetest"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, func() policies.Store { return policies.NewMemory() })
}

func TestFaultyWithoutFaults(t *testing.T) {
	storetest.Run(t, func() policies.Store { return storetest.NewFaulty(policies.NewMemory()) })
}

func TestMemoryAdvances(t *testing.T) {
	storetest.RunAdvances(t, func() policies.AdvanceStore { return policies.NewMemory() })
}
