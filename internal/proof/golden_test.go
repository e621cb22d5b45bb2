package proof

const (
	goldenLeaf      = "97c2d6ad08eb6d68f88f5215f402cc2d3975ec3a5060a3050428b3b06f435817"
	goldenAbsent    = "d100399f607ba956d68737045ea9eb3e75475dfa633b7cabecf0afa05c9f3af8"
	goldenChain     = "4fca65742c69ff1cd0427562211b076090b5baf484745e05b8df9d04a6b9c55f"
	goldenHead      = "16752787018702b601bb55bb608d22c9ec85884a0dd84d3d2e3d21cda6926349"
	goldenRoot      = "4effcfc1d770eccb7eaff0a0160cf5293ec633b8a354b2754595950aeced83b7"
	goldenSignature = "48e0a51c6c59f0e0fddcacf7ba5b6fb986657bbcf6b1f1c1ec791abff8f18017a55d981adca9bed3e5c60ec178008252873cc80a17bc8cb818fb49a21fd6bb07"
)
