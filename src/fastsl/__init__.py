"""fastsl"""
