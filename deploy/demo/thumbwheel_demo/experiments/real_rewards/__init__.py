"""Do reward heads over a frozen pretrained model beat simple rules on what people and judges really preferred?"""
