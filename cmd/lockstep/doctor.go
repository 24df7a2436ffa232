package main

import (
	"fmt"
	"slices"

	"lockstep/coreml"
	"lockstep/coreml/native"
	"lockstep/internal/machine"
)

type doctorCommand struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// Help implements kong.HelpProvider.
func (doctorCommand) Help() string {
	return "It looks at the system, the chip, whether this is a virtual machine, the disk, and the caches that Core ML keeps, and says for " +
		"each thing that the suite measures whether it can be measured here, and why not. It changes nothing; it exits 0 whatever it finds."
}

func (c *doctorCommand) Run(to streams) error {
	d := machine.Diagnose(machine.Look(machine.ThisProcess(), machine.Here{}), machine.Program{Planes: planes(), Devices: computeDevices()})
	if c.JSON {
		return writeJSON(to.out, d)
	}
	_, err := fmt.Fprint(to.out, d.Text())
	return err
}

// computeDevices is what Core ML says of its devices, or why it was not asked.
func computeDevices() machine.Devices {
	plane, err := native.New(native.Options{})
	if err != nil {
		return machine.Devices{Reason: err.Error()}
	}
	devices, err := plane.Devices()
	if err != nil {
		return machine.Devices{Reason: err.Error()}
	}
	return machine.Devices{Asked: true, NeuralEngine: slices.Contains(devices, coreml.DeviceNeuralEngine)}
}
