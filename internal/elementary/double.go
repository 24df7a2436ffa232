package elementary

// double is the unevaluated sum of two float64 numbers, with |lo| at most half
// a unit in the last place of hi: some 106 significant bits. See T. J. Dekker,
// "A floating-point technique for extending the available precision", 1971.
type double struct{ hi, lo float64 }

// twoSum returns a+b without error (D. E. Knuth's six operations).
func twoSum(a, b float64) double {
	sum := a + b
	shadow := sum - a
	return double{sum, (a - (sum - shadow)) + (b - shadow)}
}

// quickTwoSum is twoSum for |a| >= |b| or a = 0.
func quickTwoSum(a, b float64) double {
	sum := a + b
	return double{sum, b - (sum - a)}
}

// split cuts a in two parts of at most 26 bits each (G. W. Veltkamp). It
// overflows for |a| above 2^996.
func split(a float64) (high, low float64) {
	scaled := float64(a * (1<<27 + 1))
	high = scaled - (scaled - a)
	return high, a - high
}

// twoProduct returns a*b without error, short of underflow.
func twoProduct(a, b float64) double {
	product := float64(a * b)
	ah, al := split(a)
	bh, bl := split(b)
	rest := float64(ah*bh) - product
	rest += float64(ah * bl)
	rest += float64(al * bh)
	rest += float64(al * bl)
	return double{product, rest}
}

func (a double) add(b double) double {
	sum := twoSum(a.hi, b.hi)
	return quickTwoSum(sum.hi, sum.lo+(a.lo+b.lo))
}

func (a double) mul(b double) double {
	product := twoProduct(a.hi, b.hi)
	cross := float64(a.hi*b.lo) + float64(a.lo*b.hi)
	return quickTwoSum(product.hi, product.lo+cross)
}

func (a double) scale(b float64) double {
	return a.mul(double{hi: b})
}

func (a double) div(b double) double {
	first := a.hi / b.hi
	rest := a.add(b.scale(-first))
	return quickTwoSum(first, rest.hi/b.hi)
}
