// Package mutant makes faulty specimens: a package, checkpoint, record or host
// input with one seeded fault each. They prove that the gate catches what it
// says it catches, and that the guards outside it refuse what the gate never
// sees. A Matrix shows who caught what. Nothing in the product knows of them.
package mutant
