"""A scripted morning at a gate without hardware: the real application, a broker, and a witness."""
